"""SPIFFE's Workload API as an agent serves it, for tests: the published service on a unix socket, told what to say.

It is a double: real SPIRE is another program. The method, the metadata that it demands and the form of an answer are
those of the standard.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sidecar.wire.workload_pb2 import X509SVID, X509SVIDRequest, X509SVIDResponse
from tests.leaves import Issuer, Pair


@dataclass
class Agent:
    """Answers every call with the newest identities, and each open one again when they change."""

    address: str
    # None: no entry is for the caller.
    newest: X509SVIDResponse | None = None
    calls: int = 0
    _open: list[queue.Queue[X509SVIDResponse | None]] = field(default_factory=list)

    def tell(self, identities: dict[str, Pair], issuer: Issuer) -> None:
        """From now on the caller is these, each with the URI that stands first."""
        self.newest = X509SVIDResponse(svids=[_svid(uri, pair, issuer) for uri, pair in identities.items()])
        for calls in self._open:
            calls.put(self.newest)

    def hang_up(self) -> None:
        """End every open call."""
        for calls in self._open:
            calls.put(None)
        self._open.clear()

    def fetch(self, _: X509SVIDRequest, context: grpc.ServicerContext) -> Iterator[X509SVIDResponse]:
        """FetchX509SVID."""
        self.calls += 1
        if ("workload.spiffe.io", "true") not in [tuple(pair) for pair in context.invocation_metadata()]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        if self.newest is None:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        calls: queue.Queue[X509SVIDResponse | None] = queue.Queue()
        calls.put(self.newest)
        self._open.append(calls)
        while (response := calls.get()) is not None:
            yield response


@contextmanager
def agent(directory: Path) -> Iterator[Agent]:
    """An agent that listens on a socket in this directory."""
    # A path of a socket has 107 characters at most.
    serving = Agent(f"unix://{directory}/agent.sock")
    server = grpc.server(ThreadPoolExecutor(4))
    fetch = grpc.unary_stream_rpc_method_handler(
        serving.fetch,
        request_deserializer=X509SVIDRequest.FromString,
        response_serializer=X509SVIDResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", {"FetchX509SVID": fetch}),)
    )
    server.add_insecure_port(serving.address)
    server.start()
    try:
        yield serving
    finally:
        serving.hang_up()
        server.stop(0).wait()


def _svid(uri: str, pair: Pair, issuer: Issuer) -> X509SVID:
    return X509SVID(
        spiffe_id=uri,
        x509_svid=pair.certificate.public_bytes(Encoding.DER),
        x509_svid_key=pair.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        bundle=issuer.certificate.public_bytes(Encoding.DER),
    )
