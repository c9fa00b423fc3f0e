"""`sidecar ca`: the local CA of a mesh without Consul."""

import json
import os
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli import arguments

if TYPE_CHECKING:
    from pathlib import Path

    from sidecar.identity.local_ca import Ca

cli = typer.Typer(help="Make, show and rotate the local CA of a mesh without Consul.", no_args_is_help=True)

CREATE_HELP = """
Make the local CA, where there is none.

The first sidecar makes one too; this is for another life of leaves, or to have it ready.

Examples:

\b
  sidecar ca create --trust-domain mesh.local
  sidecar ca create --trust-domain mesh.local --leaf-lifetime 1h
"""

SHOW_HELP = """
Show the local CA: its root, the earlier roots that are still trusted, and how long leaves live. No key.

Examples:

\b
  sidecar ca show
  sidecar ca show -o pem > roots.pem
"""

ROTATE_HELP = """
Replace the key and the root of the local CA.

Sidecars and gateways notice within a second and have new leaves, without a failed request: the earlier root stays
trusted until its last leaf has ended. With --distrust it does not, for a key that was stolen; calls in the same second
may fail.

Examples:

\b
  sidecar ca rotate
  sidecar ca rotate --distrust
"""


class Output(StrEnum):
    """How it is printed."""

    TEXT = "text"
    JSON = "json"
    PEM = "pem"


LeafLifetime = Annotated[
    str,
    typer.Option("--leaf-lifetime", metavar="DURATION", show_default="24h", help="How long a leaf lives: 10m, 24h."),
]


@cli.command(short_help="Make the local CA.", help=CREATE_HELP)
def create(
    trust_domain: Annotated[
        str, typer.Option("--trust-domain", metavar="DOMAIN", help="As `trust_domain` in mesh.yaml.")
    ] = "mesh.local",
    leaf_lifetime: LeafLifetime = "24h",
    state_dir: arguments.StateDir = None,
) -> None:
    """Make it and say where."""
    from datetime import timedelta

    from sidecar.identity import local_ca
    from sidecar.identity.spiffe import ServiceId

    # Checks the name.
    domain = ServiceId(trust_domain, "any").trust_domain
    lifetime = timedelta(seconds=arguments.seconds(leaf_lifetime, "--leaf-lifetime"))
    directory = arguments.state_directory(state_dir)
    _print(directory, local_ca.create(directory, domain, lifetime), Output.TEXT)


@cli.command(short_help="Show the local CA.", help=SHOW_HELP)
def show(
    output: Annotated[Output, typer.Option("--output", "-o", help="How to print it.")] = Output.TEXT,
    state_dir: arguments.StateDir = None,
) -> None:
    """Print it."""
    from sidecar.identity import local_ca

    directory = arguments.state_directory(state_dir)
    _print(directory, local_ca.show(directory), output)


@cli.command(short_help="Replace its key and root.", help=ROTATE_HELP)
def rotate(
    distrust: Annotated[bool, typer.Option("--distrust", help="Trust the earlier roots no more, from now on.")] = False,
    leaf_lifetime: Annotated[
        str,
        typer.Option(
            "--leaf-lifetime", metavar="DURATION", show_default="as before", help="How long leaves live from now on."
        ),
    ] = "",
    state_dir: arguments.StateDir = None,
) -> None:
    """Replace them and show what is in force."""
    from datetime import timedelta

    from sidecar.identity import local_ca

    lifetime = timedelta(seconds=arguments.seconds(leaf_lifetime, "--leaf-lifetime")) if leaf_lifetime else None
    directory = arguments.state_directory(state_dir)
    _print(directory, local_ca.rotate(directory, lifetime, distrust=distrust), Output.TEXT)


def _print(directory: "Path", ca: "Ca", output: Output) -> None:
    from datetime import UTC, datetime

    from cryptography.hazmat.primitives.serialization import Encoding

    from sidecar.identity.certificates import describe

    trusted = ca.trusted(datetime.now(UTC))
    if output is Output.PEM:
        typer.echo("".join(root.public_bytes(Encoding.PEM).decode() for root in trusted), nl=False)
        return
    roots = describe([root.public_bytes(Encoding.DER) for root in trusted])
    until = ["", *(end.isoformat(timespec="seconds") for _, end in ca.earlier)]
    if output is Output.JSON:
        told = {
            "place": str(directory / "ca"),
            "leaf_lifetime_seconds": ca.leaf_lifetime.total_seconds(),
            "roots": [{**root, "trusted_until": end or None} for root, end in zip(roots, until, strict=False)],
        }
        typer.echo(json.dumps(told, indent=2))
        return
    lines = [f"local CA in {directory / 'ca'}{os.linesep}  leaves live {ca.leaf_lifetime}"]
    for root, end in zip(roots, until, strict=False):
        kind, when = ("earlier root", f"trusted until {end}") if end else ("root", f"ends {root['not_after']}")
        lines.append(f"  {kind}: {root['subject']}, {', '.join(root['uris'])}, {when}, sha256 {root['sha256']}")
    typer.echo("\n".join(lines))
