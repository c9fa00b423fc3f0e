"""The instances of this host, and what their admin servers answer."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sidecar.rundir import Instance

# Seconds for an answer of an admin server on this host.
ANSWER_WITHIN = 3.0
# Exit code when something is not well.
TROUBLE = 3

# What one of them says of itself.
Said = dict[str, Any]


class Output(StrEnum):
    """How it is printed."""

    TEXT = "text"
    JSON = "json"


Form = Annotated[Output, typer.Option("--output", "-o", help="How to print it.")]


def running() -> "list[Instance]":
    """Those that are alive. Raises SidecarError when there is none."""
    from sidecar.errors import SidecarError
    from sidecar.rundir import default_directory

    if not (found := _running_or_none()):
        directory = default_directory(os.environ)
        raise SidecarError(f"no sidecar or gateway of this user runs here: there is none in {directory}")
    return found


def get(admin: str, path: str, within: float = ANSWER_WITHIN) -> Any:
    """A JSON answer, whatever its status: an instance that is not ready says so with 503.

    Raises OSError, ValueError or HTTPException when there is none.
    """
    return json.loads(text(admin, path, within))


def text(admin: str, path: str, within: float = ANSWER_WITHIN) -> str:
    """An answer as it is. Raises OSError, ValueError or HTTPException when there is none."""
    from http.client import HTTPConnection

    connection = HTTPConnection(admin, timeout=within)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


Admins = Annotated[
    list[str] | None,
    typer.Option("--admin", metavar="ADDRESS", show_default=False, help="Admin address of one more. Repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def asked(addresses: Iterable[str]) -> list[Said]:
    """Those of this host, and those whose admin servers are there: role, name, admin, listeners.

    Raises SidecarError when there is none, or one that is named does not answer.
    """
    from dataclasses import asdict
    from http.client import HTTPException

    from sidecar.errors import SidecarError

    named = list(addresses)
    found = {instance.admin: asdict(instance) for instance in (running() if not named else _running_or_none())}
    for address in named:
        try:
            ready, bound = get(address, "/ready"), get(address, "/api/v1/listeners")["listeners"]
            known = {"role": ready["role"], "name": ready["name"], "admin": address}
            found.setdefault(address, {**known, "listeners": {each["name"]: each["address"] for each in bound}})
        except (OSError, ValueError, KeyError, HTTPException) as error:
            raise SidecarError(f"--admin {address}: no admin server of a sidecar answers: {error}") from error
    return list(found.values())


def said(instance: Said, path: str) -> Said:
    """A JSON object that it answers; `error` when it does not, or says that it cannot."""
    from http.client import HTTPException

    try:
        answer = get(instance["admin"], path)
    except (OSError, ValueError, HTTPException) as error:
        return {"error": f"its admin server does not answer: {error}"}
    return {"error": answer["detail"]} if set(answer) == {"status", "detail"} else dict(answer)


def named(instance: Said) -> str:
    """ "sidecar orders"."""
    return f"{instance['role']} {instance['name']}"


def _running_or_none() -> "list[Instance]":
    from sidecar.rundir import RunDirectory, default_directory

    return list(RunDirectory(default_directory(os.environ)).instances())


def tell(
    found: Sequence[Said], output: Output, lines: Callable[[Said], list[str]], trouble: Callable[[Said], object]
) -> None:
    """Print what each of them says. Ends with TROUBLE when one is in it."""
    if output is Output.JSON:
        typer.echo(json.dumps(found, indent=2))
    else:
        typer.echo("\n".join(line for said in found for line in lines(said)))
    if any(trouble(said) for said in found):
        raise typer.Exit(TROUBLE)
