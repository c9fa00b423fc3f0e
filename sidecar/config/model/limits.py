"""Bounds of what clients may send to a listener, and of how long they may take for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from sidecar.config.model.base import Model, PositiveDuration, Size, size_between


class Limits(Model):
    """What a listener takes from its clients. A field that is left out has the mesh document's value."""

    # Envoy's default (core.v3.HttpProtocolOptions.max_headers_count).
    max_headers: int = Field(default=100, ge=1, le=1000, description="Fields of a request head.")
    # Envoy's default (HttpConnectionManager.max_request_headers_kb).
    max_header_bytes: Annotated[Size, size_between(1 << 10, 1 << 20)] = Field(
        default=60 << 10, description="Bytes of a request head."
    )
    # nginx's default (large_client_header_buffers); RFC 9112 section 3 asks for 8000. A URI of ours holds 64 KiB.
    max_request_line: Annotated[Size, size_between(1 << 8, 63 << 10)] = Field(
        default=8 << 10, description="Bytes of method, target and version of a request."
    )
    # Go's default is 250, nginx's 128.
    max_streams: int = Field(
        default=256,
        ge=1,
        le=4096,
        description="Requests at once on one HTTP/2 connection; the client waits with others.",
    )
    # nginx has 512 for each worker, Envoy none. With the 40 KiB that an idle one may take, these are 640 MiB.
    max_connections: int = Field(default=16_384, ge=1, le=1_000_000, description="Open connections.")
    # Half of what Apache httpd gives at first (RequestReadTimeout header=20); nginx gives 60 s.
    header_timeout: PositiveDuration = Field(
        default=timedelta(seconds=10),
        description="From the first byte of a request head to its last; also of a handshake.",
    )
    # nginx's default (client_body_timeout).
    body_timeout: PositiveDuration = Field(
        default=timedelta(seconds=60),
        description="How long a request's content may stand still before its answer begins; "
        "not for grpc, whose streams may be silent.",
    )
    # Envoy's default (HttpConnectionManager.stream_idle_timeout, which also ends streams whose window stays shut).
    send_timeout: PositiveDuration = Field(
        default=timedelta(minutes=5),
        description="How long a caller may take none of its response, or next to none.",
    )
    # Envoy's default (core.v3.HttpProtocolOptions.idle_timeout).
    idle_timeout: PositiveDuration = Field(
        default=timedelta(hours=1), description="How long a connection may be open without a request."
    )
    # Envoy and Go have none; without one, clients that stay never see a new instance. nginx has keepalive_time 1h.
    max_connection_age: PositiveDuration = Field(
        default=timedelta(hours=1),
        description="After this time, a tenth more or less, a connection ends with the requests on it.",
    )
    # Well below the 350 s after which AWS's network load balancer forgets a silent connection.
    keepalive_interval: PositiveDuration = Field(
        default=timedelta(seconds=60), description="Between two PINGs on an HTTP/2 connection."
    )
    # gRPC's default (GRPC_ARG_KEEPALIVE_TIMEOUT_MS).
    keepalive_timeout: PositiveDuration = Field(
        default=timedelta(seconds=20), description="For the answer to a PING; then the client is gone."
    )

    def over(self, others: Limits) -> Limits:
        """These, and the others' where nothing is written here."""
        return others.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})
