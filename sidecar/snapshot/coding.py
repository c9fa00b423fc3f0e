"""What a gateway's document says about the coding of content, as the data plane has it."""

from __future__ import annotations

from sidecar.config.model import Gateway
from sidecar.config.model.gateway import GatewayRoute
from sidecar.wire import snapshot_pb2 as wire

_CODINGS = {"zstd": wire.CODING_ZSTD, "br": wire.CODING_BROTLI, "gzip": wire.CODING_GZIP}


def compress(gateway: Gateway, route: GatewayRoute) -> wire.Compress | None:
    """Of the answers of a route; None: they go on as they are."""
    said = gateway.compress if route.compress is None else route.compress
    if said is None or not said.encodings:
        return None
    return wire.Compress(
        codings=[_CODINGS[encoding] for encoding in said.encodings],
        content_types=said.content_types,
        min_size=said.min_size,
    )


def decompress(gateway: Gateway, route: GatewayRoute) -> wire.Decompress | None:
    """Of the requests of a route; None: they go on as they are."""
    said = gateway.decompress if route.decompress is None else route.decompress
    return None if said is None else wire.Decompress(max_size=said.max_size, max_ratio=said.max_ratio)
