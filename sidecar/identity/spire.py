"""SPIFFE's Workload API as the authority: an agent on this host, SPIRE's mostly, tells our leaf and the roots.

The agent knows us by our process, renews in time, and tells each change on one stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING

from sidecar.errors import IdentityError
from sidecar.identity import pem
from sidecar.identity.authority import KeyPair, Leaf
from sidecar.identity.process import checked
from sidecar.identity.spiffe import ServiceId, form
from sidecar.wire.workload_pb2 import X509SVIDRequest, X509SVIDResponse
from sidecar.world import Site

if TYPE_CHECKING:
    import grpc

# Where the agent listens, by the SPIFFE standard.
SOCKET_VARIABLE = "SPIFFE_ENDPOINT_SOCKET"
METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"
# The standard asks for it: a web page that is made to call the agent cannot set it.
METADATA = (("workload.spiffe.io", "true"),)
# Seconds at the start until no leaf is a failure; between calls, the last repeats.
ANSWER_WITHIN = 15.0
CALL_AGAIN_AFTER = (0.5, 1.0, 2.0, 5.0, 15.0)

log = logging.getLogger(__name__)


class WorkloadApi:
    """The authority that `--identity spire` names; `address` is unix:///path or tcp://ip:port."""

    def __init__(
        self,
        address: str,
        service: str,
        trust_domain: str = "",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Of whatever trust domain the leaf is, where that is ""."""
        self.name = f"SPIFFE's Workload API at {address}"
        self.site: Site | None = None
        self.failure = ""
        # The agent tells.
        self.due: datetime | None = None
        self._target = _target(address)
        self._service, self._trust_domain = service, trust_domain
        self._sleep = sleep

    async def watch(self) -> AsyncGenerator[Leaf, None]:
        async with aclosing(self._leaves()) as leaves:
            try:
                async with asyncio.timeout(ANSWER_WITHIN):
                    leaf = await anext(leaves)
            except TimeoutError:
                raise IdentityError(f"{self.name}: {self.failure or 'it does not answer'}") from None
            yield leaf
            async for leaf in leaves:
                yield leaf

    async def _leaves(self) -> AsyncGenerator[Leaf, None]:
        """Each leaf of one call after the other, for ever."""
        # Here: the library costs megabytes, and nobody else needs it.
        import grpc

        failures = 0
        while True:
            try:
                # Of its own each time: one that has failed waits longer than we want to before it connects again.
                async with grpc.aio.insecure_channel(self._target) as channel:
                    async for response in _call(channel):
                        try:
                            leaf = await asyncio.to_thread(self._leaf, response)
                        except IdentityError as error:
                            self._refuse(str(error))
                            continue
                        failures, self.failure = 0, ""
                        yield leaf
                self._refuse("it has ended the call")
            except grpc.aio.AioRpcError as error:
                self._refuse(_explain(error))
            await self._sleep(CALL_AGAIN_AFTER[min(failures, len(CALL_AGAIN_AFTER) - 1)])
            failures += 1

    def _refuse(self, reason: str) -> None:
        if reason != self.failure:
            log.error("%s gives no new certificate, the last good one stays: %s", self.name, reason)
        self.failure = reason

    def _leaf(self, response: X509SVIDResponse) -> Leaf:
        """Ours among those that we are given. Raises IdentityError."""
        told = {svid.spiffe_id: svid for svid in response.svids}
        for uri, svid in told.items():
            if not _is_of(uri, self._service, self._trust_domain):
                continue
            leaf, identity = checked(
                KeyPair(pem.elements(svid.x509_svid), svid.x509_svid_key),
                pem.elements(svid.bundle),
                self._service,
                self._trust_domain,
            )
            self.site = Site(identity.trust_domain, identity.datacenter)
            return leaf
        expected = form(self._service, self._trust_domain)
        raise IdentityError(
            f"it knows us as {', '.join(sorted(told)) or 'nobody'}, expected {expected}: "
            "make an entry with that SPIFFE id for this process (`spire-server entry create`)"
        )


def _is_of(uri: str, service: str, trust_domain: str) -> bool:
    try:
        return ServiceId.parse(uri).is_of(service, trust_domain)
    except IdentityError:
        return False


def _call(channel: grpc.aio.Channel) -> AsyncIterable[X509SVIDResponse]:
    method = channel.unary_stream(
        METHOD,
        request_serializer=X509SVIDRequest.SerializeToString,
        response_deserializer=X509SVIDResponse.FromString,
    )
    return method(X509SVIDRequest(), metadata=METADATA)


def _explain(error: grpc.aio.AioRpcError) -> str:
    code = error.code().name
    if code == "PERMISSION_DENIED":
        return "it has no identity for this process: make an entry for it (`spire-server entry create`)"
    return f"{code}: {error.details()}"


def _target(address: str) -> str:
    """As grpc names it. Raises IdentityError."""
    if address.startswith("unix:"):
        return address
    if address.startswith("tcp://"):
        return address.removeprefix("tcp://")
    raise IdentityError(
        f"{address!r} is no address of a Workload API: expected unix:///path or tcp://ip:port in {SOCKET_VARIABLE}, "
        "or after `--identity spire:`"
    )
