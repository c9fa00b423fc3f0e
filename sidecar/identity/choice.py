"""Which authority says who we are, as `--identity` names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sidecar.errors import IdentityError
from sidecar.identity.authority import Authority
from sidecar.identity.process import LocalIssuer
from sidecar.identity.rotation import IssuedAuthority
from sidecar.identity.spiffe import ServiceId

Kind = Literal["consul", "local", "files", "spire"]

EXPECTED = "consul, local, files:DIR, spire or spire:ADDRESS"


@dataclass(frozen=True)
class Choice:
    """An authority; `place` is the directory of files, or the address of a Workload API."""

    kind: Kind
    place: str = ""


CONSUL, LOCAL = Choice("consul"), Choice("local")


def parse(text: str, environ: Mapping[str, str], *, with_consul: bool) -> Choice:
    """ "files:/run/mesh" → Choice("files", "/run/mesh"); "" is that of the engine. Raises IdentityError."""
    kind, _, place = (text or ("consul" if with_consul else "local")).partition(":")
    if kind == "spire":
        return Choice("spire", place or environ.get("SPIFFE_ENDPOINT_SOCKET", ""))
    if kind == "files" and place:
        return Choice("files", place)
    if kind == "consul" and not place:
        if with_consul:
            return CONSUL
        raise IdentityError("--identity consul needs Consul, so not with --config: leave one of the two out")
    if kind == "local" and not place:
        if not with_consul:
            return LOCAL
        raise IdentityError("--identity local is for one host and a directory of documents: give --config DIR too")
    raise IdentityError(f"{text!r} is no authority: expected {EXPECTED}")


def authority(choice: Choice, service: str, trust_domain: str, state_directory: Path) -> Authority:
    """All but Consul's, for a service in a trust domain; "" is that of the leaf, which the local CA does not have."""
    if choice.kind == "files":
        from sidecar.identity.leaf_files import LeafFiles

        return LeafFiles(Path(choice.place), service, trust_domain)
    if choice.kind == "spire":
        from sidecar.identity.spire import WorkloadApi

        return WorkloadApi(choice.place, service, trust_domain)
    return IssuedAuthority(
        f"the local CA in {state_directory}",
        LocalIssuer(state_directory, trust_domain),
        ServiceId(trust_domain, service),
    )
