"""What every authority gives: a leaf for our service and the roots that peers are verified against."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from sidecar.identity.spiffe import ServiceId


@dataclass(frozen=True)
class Leaf:
    """Our certificate and its key, which stays in memory.

    `certificate_chain` is DER, leaf first; `private_key` is PKCS#8 DER.
    """

    certificate_chain: tuple[bytes, ...]
    private_key: bytes = field(repr=False)
    not_before: datetime
    not_after: datetime


class Authority(Protocol):
    """Signs for one trust domain. Both calls may block; both raise IdentityError with the next step."""

    def issue(self, identity: ServiceId) -> Leaf:
        """A new leaf with a new key."""

    def roots(self) -> tuple[bytes, ...]:
        """The root certificates in force, DER."""
