"""`sidecar version`."""

import json
import platform
from enum import StrEnum
from importlib.util import find_spec
from typing import Annotated

import typer

HELP = """
Tell the version.

Examples:

\b
  sidecar version
  sidecar version -o json
"""


class Output(StrEnum):
    """How the answer is written."""

    TEXT = "text"
    JSON = "json"


def version(
    output: Annotated[Output, typer.Option("-o", "--output", help="Form of the answer.")] = Output.TEXT,
) -> None:
    """Print what runs here."""
    facts = {
        "version": _version(),
        "python": platform.python_version(),
        "platform": f"{platform.system().lower()}-{platform.machine()}",
        "dataplane": "built" if find_spec("sidecar._dataplane") else "missing",
    }
    if output is Output.JSON:
        typer.echo(json.dumps(facts))
    else:
        typer.echo(
            f"sidecar {facts['version']} (python {facts['python']}, {facts['platform']}, "
            f"data plane {facts['dataplane']})"
        )


def _version() -> str:
    # Here, for no other command waits for it.
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed_version

    try:
        return installed_version("sidecar-mesh")
    except PackageNotFoundError:
        return "unknown: run from a source tree"
