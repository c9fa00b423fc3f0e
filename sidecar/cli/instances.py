"""The instances of this host, and what their admin servers answer."""

import json
import os
from collections.abc import Callable, Sequence
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
    from sidecar.rundir import RunDirectory, default_directory

    directory = default_directory(os.environ)
    found = list(RunDirectory(directory).instances())
    if not found:
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
