"""What every authority gives: a leaf for our service, with the roots that peers are verified against."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from sidecar.world import Site

# As the data plane has it (dataplane/src/tls/verify.rs): so long before its beginning it takes a certificate.
EARLY_MINUTES = 60


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

    def untimely(self, now: datetime) -> str:
        """Why it is not valid at `now`, the time of this host; "" when it is."""
        if now < self.not_before:
            wait = int((self.not_before - now).total_seconds() / 60) + 1
            return (
                f"by this host's clock our certificate begins in {wait} min, as those of peers may: set the clock, "
                f"for none is taken more than {EARLY_MINUTES} min early"
            )
        if now >= self.not_after:
            ended = f"{self.not_after:%Y-%m-%d %H:%M} UTC"
            return (
                f"by this host's clock ({now:%Y-%m-%d %H:%M} UTC) our certificate ended at {ended}: no peer trusts us"
            )
        return ""


class Authority(Protocol):
    """Who says that we are who we are: one service's identity, and by whom others' are known."""

    # For people: "Consul's Connect CA", "the local CA", …
    name: str
    # Where the newest leaf says that we are; None before the first.
    site: Site | None
    # Why its newest answer is not used; "" when it is.
    failure: str
    # When it is asked for the next leaf; None where it tells by itself.
    due: datetime | None

    def watch(self) -> AsyncGenerator[Leaf, None]:
        """The leaf now, and whenever leaf or roots are others, for ever.

        Raises IdentityError, with the next step, when there is nothing to begin with. What fails later is logged and
        tried again, and the leaf before stays.
        """
