"""What every authority gives: a leaf for our service, with the roots that peers are verified against."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from sidecar.identity.spiffe import ServiceId


@dataclass(frozen=True)
class KeyPair:
    """A certificate chain (DER, leaf first) and its private key (PKCS#8 DER)."""

    certificate_chain: tuple[bytes, ...]
    private_key: bytes = field(repr=False)


@dataclass(frozen=True)
class Leaf(KeyPair):
    """Our own certificate, whose key stays in memory; `roots` (DER) are those in force when it was issued."""

    not_before: datetime
    not_after: datetime
    roots: tuple[bytes, ...]


class Authority(Protocol):
    """Signs for one trust domain when it is asked."""

    def issue(self, identity: ServiceId) -> Leaf:
        """A new leaf with a new key. May block; raises IdentityError with the next step."""


class WatchedAuthority(Protocol):
    """Signs by itself whenever a new leaf is due, or the roots have changed."""

    def watch(self) -> AsyncGenerator[Leaf, None]:
        """The leaf now, and each that follows it, for ever. What fails is logged and tried again."""
