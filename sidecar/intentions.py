"""What Consul's intentions say of one service: who may call it, and with which requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PathKind = Literal["exact", "prefix", "regex"]
FieldKind = Literal["present", "exact", "prefix", "suffix", "contains", "regex"]

# Stands for any service.
ANY = "*"


@dataclass(frozen=True, slots=True)
class FieldTest:
    """What is asked of one header; its name is in lower case."""

    name: str
    kind: FieldKind
    value: str = ""
    invert: bool = False
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Permission:
    """One rule about requests; a part that is empty asks for nothing."""

    allow: bool
    # A prefix is the beginning of the path, whatever follows it.
    path: tuple[PathKind, str] | None = None
    methods: tuple[str, ...] = ()
    headers: tuple[FieldTest, ...] = ()
    # Only with a JSON Web Token that one of these providers has signed.
    providers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Intention:
    """One source of one service. It has an action or permissions."""

    source: str
    # The service itself, or ANY.
    destination: str
    # Consul's: 9 is from one service to one service.
    precedence: int
    allow: bool | None = None
    permissions: tuple[Permission, ...] = ()
    # As those of a permission, for all that is allowed.
    providers: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"intention {self.source} → {self.destination} (precedence {self.precedence})"


@dataclass(frozen=True, slots=True)
class Intentions:
    """All that concern one service, in the order in which they are asked, and what holds without any."""

    found: tuple[Intention, ...] = ()
    default_allow: bool = False
    # "intention web → orders: Peer": what is asked for and not done, for people.
    not_carried_out: tuple[str, ...] = ()
