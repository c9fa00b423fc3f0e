"""Consul's Connect CA as the authority: our leaf and the roots of the mesh, each by a blocking watch on our agent.

The agent asks for a new leaf before the old one ends and when the roots rotate; the watch tells it. All listed roots
are trusted: a rotation keeps the old one until every leaf is new.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from sidecar.consul.client import ConsulClient
from sidecar.consul.watches import Watches
from sidecar.errors import IdentityError
from sidecar.identity import pem
from sidecar.identity.authority import Leaf
from sidecar.world import Site

_LEAF, _ROOTS = "leaf", "roots"
_ROOTS_PATH = "/v1/agent/connect/ca/roots"
# As Consul writes it, with the admin partition where that is not the default one.
_URI = re.compile(
    r"spiffe://(?P<domain>[^/]+)(?:/ap/(?P<partition>[^/]+))?/ns/(?P<namespace>[^/]+)/dc/(?P<datacenter>[^/]+)/svc/(?P<service>[^/]+)"
)

log = logging.getLogger(__name__)


class ConsulConnect:
    """The authority of one service; `site` is where its leaf says that we are, None before the first one."""

    def __init__(self, client: ConsulClient, service: str) -> None:
        self._client = client
        self._service = service
        self.name = "Consul's Connect CA"
        self.site: Site | None = None
        self.failure = ""
        # The agent renews between 60 and 90 % of a leaf's life, and tells.
        self.due: datetime | None = None

    async def watch(self) -> AsyncGenerator[Leaf, None]:
        """The leaf with the roots in force, once both are known, and again whenever one of them has changed."""
        watches: Watches[str] = Watches(self._client, 2)
        watches.add(_ROOTS, _ROOTS_PATH, {})
        watches.add(_LEAF, f"/v1/agent/connect/ca/leaf/{self._service}", {})
        told: dict[str, Any] = {}
        last: Leaf | None = None
        async with aclosing(watches.answers()) as answers:
            async for key, answer in answers:
                told[key] = answer.value
                if len(told) < 2:
                    continue
                try:
                    leaf = self._leaf(told[_LEAF], told[_ROOTS])
                except IdentityError as error:
                    self._refuse(str(error))
                    continue
                self.failure = ""
                if leaf != last:
                    last = leaf
                    yield leaf

    def _refuse(self, reason: str) -> None:
        if reason != self.failure:
            log.error("Consul's certificates are not used, the last good ones stay: %s", reason)
        self.failure = reason

    def _leaf(self, leaf: object, roots: object) -> Leaf:
        if not isinstance(leaf, Mapping) or not isinstance(roots, Mapping):
            raise IdentityError("Consul has no certificates; its servers need `connect { enabled = true }`")
        try:
            uri = _URI.fullmatch(leaf["ServiceURI"])
            if uri is None or unquote(uri["service"]) != self._service:
                raise IdentityError(
                    f"the leaf is for {leaf['ServiceURI']}, expected one for the service {self._service}"
                )
            if uri["domain"] != roots["TrustDomain"]:
                raise IdentityError(f"the leaf is for {uri['domain']}, but the mesh is {roots['TrustDomain']}")
            trusted = [certificate for root in roots["Roots"] for certificate in pem.certificates(root["RootCert"])]
            read = Leaf(
                certificate_chain=pem.certificates(leaf["CertPEM"]),
                private_key=pem.private_key(leaf["PrivateKeyPEM"]),
                not_before=datetime.fromisoformat(leaf["ValidAfter"]),
                not_after=datetime.fromisoformat(leaf["ValidBefore"]),
                roots=tuple(dict.fromkeys(trusted)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise IdentityError(f"Consul's answer has another form than expected: {error!r}") from None
        if not read.roots:
            raise IdentityError("Consul lists no root certificate")
        self.site = Site(uri["domain"], unquote(uri["datacenter"]))
        return read
