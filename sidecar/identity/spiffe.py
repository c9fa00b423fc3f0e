"""SPIFFE ids of services, written the way Consul writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.errors import IdentityError

# SPIFFE-ID section 2.1: a trust domain is at most 255 of these; section 2.2: a path segment's letters.
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,255}")
_URI = re.compile(r"spiffe://([^/]*)/ns/([^/]*)/dc/([^/]*)/svc/([^/]*)")


@dataclass(frozen=True)
class ServiceId:
    """`spiffe://<trust domain>/ns/<namespace>/dc/<datacenter>/svc/<service>`."""

    trust_domain: str
    service: str
    datacenter: str = "dc1"
    namespace: str = "default"

    def __post_init__(self) -> None:
        if not _TRUST_DOMAIN.fullmatch(self.trust_domain):
            raise IdentityError(
                f"{self.trust_domain!r} is no trust domain: expected a name like mesh.local "
                "of lower-case letters, digits, dots, hyphens and underscores"
            )
        for what, value in (("service", self.service), ("dc", self.datacenter), ("namespace", self.namespace)):
            # "." and ".." are legal letters but not legal segments.
            if not _SEGMENT.fullmatch(value) or not value.strip("."):
                raise IdentityError(
                    f"{value!r} cannot be the {what} of a SPIFFE id: "
                    "expected letters, digits, dots, hyphens and underscores"
                )

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/dc/{self.datacenter}/svc/{self.service}"

    @classmethod
    def parse(cls, uri: str) -> ServiceId:
        """The other way. Raises IdentityError."""
        found = _URI.fullmatch(uri)
        if found is None:
            raise IdentityError(
                f"{uri!r} is not the id of a service of this mesh: "
                "expected spiffe://<trust domain>/ns/<namespace>/dc/<datacenter>/svc/<service>, as Consul writes it"
            )
        trust_domain, namespace, datacenter, service = found.groups()
        return cls(trust_domain, service, datacenter, namespace)

    def is_of(self, service: str, trust_domain: str) -> bool:
        """Whether it names `service`; in any trust domain where that is ""."""
        return self.service == service and self.trust_domain == (trust_domain or self.trust_domain)


def form(service: str, trust_domain: str) -> str:
    """How an id of `service` looks, for people."""
    return f"spiffe://{trust_domain or '<trust domain>'}/ns/default/dc/<datacenter>/svc/{service}"


def expect(uris: Sequence[str], service: str, trust_domain: str) -> ServiceId:
    """The id among `uris`, of which there is one, when it is that of `service`; any trust domain where that is "".

    Raises IdentityError naming what was expected and what was seen.
    """
    seen = " and ".join(uris) or "no URI"
    if len(uris) == 1:
        found = ServiceId.parse(uris[0])
        if found.is_of(service, trust_domain):
            return found
    raise IdentityError(f"our certificate is for {seen}, expected {form(service, trust_domain)}")
