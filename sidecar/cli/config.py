"""`sidecar config`: look at configuration, and move it, without running anything."""

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli import config_sync

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sidecar.errors import Problem
    from sidecar.world import World

cli = typer.Typer(
    help="Check documents, move them between a directory and Consul, and print their schema.", no_args_is_help=True
)
cli.command(short_help="Write a directory of documents to Consul.", help=config_sync.PUSH_HELP)(config_sync.push)
cli.command(short_help="Write Consul's documents to a directory.", help=config_sync.PULL_HELP)(config_sync.pull)
cli.command(short_help="Show what a push would change.", help=config_sync.DIFF_HELP)(config_sync.diff)


class Output(StrEnum):
    """How a result is printed."""

    TEXT = "text"
    JSON = "json"


class Described(StrEnum):
    """Which documents a schema describes."""

    ALL = "all"
    MESH = "mesh"
    SERVICE = "service"
    GATEWAY = "gateway"
    CONSUMER = "consumer"


CHECK_HELP = """
Read all documents of a directory and tell every problem.

Ends with 0 when there is none, else with 78.

Examples:

\b
  sidecar config check examples/shop/config
  sidecar config check . -o json
"""

SCHEMA_HELP = """
Print the JSON Schema of the documents, for editors.

Save that of one kind, and name it in the first line of a document:

\b
  sidecar config schema service > service.schema.json
  # yaml-language-server: $schema=service.schema.json
"""


@cli.command(short_help="Check a directory of documents.", help=CHECK_HELP)
def check(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The directory with mesh.yaml, services/, gateways/, consumers/.")
    ],
    output: Annotated[Output, typer.Option("--output", "-o", help="What to print.")] = Output.TEXT,
) -> None:
    """Print every problem of the documents, or what was found to be good."""
    # Here, so that `--help` does not wait for the models.
    from sidecar.errors import ConfigError, Problem, SourceError
    from sidecar.sources.files import FileSource
    from sidecar.world import World

    try:
        world = World().apply(FileSource(directory).read())
        problems = [problem for found in world.refusals.values() for problem in found]
    except SourceError as error:
        world, problems = World(), [Problem(str(directory), str(error))]
    if not problems and not world.documents:
        places = "mesh.yaml, services/<service>.yaml, gateways/<gateway>.yaml or consumers/<consumer>.yaml"
        problems = [Problem(str(directory), "there is no document in this directory", places)]
    if output is Output.JSON:
        typer.echo(_json(world, problems))
    elif problems:
        raise ConfigError(problems)
    else:
        typer.echo(f"ok: {_summary(world)}")
    if problems:
        raise typer.Exit(os.EX_CONFIG)


@cli.command(short_help="Print the JSON Schema of the documents.", help=SCHEMA_HELP)
def schema(
    kind: Annotated[
        Described,
        typer.Argument(metavar="[KIND]", show_default=False, help="mesh, service, gateway or consumer; else all."),
    ] = Described.ALL,
) -> None:
    """Print one JSON document."""
    from sidecar.config import schema

    described = schema.of_all() if kind is Described.ALL else schema.of(kind.value)
    typer.echo(json.dumps(described, indent=2))


def _summary(world: "World") -> str:
    """ "mesh, 3 services, 1 gateway"."""
    counts = [
        ("service", len(world.services)),
        ("gateway", len(world.gateways)),
        ("consumer", len(world.consumers)),
    ]
    mesh = ["mesh"] if len(world.documents) > sum(count for _, count in counts) else []
    return ", ".join([*mesh, *(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts if count)])


def _json(world: "World", problems: "Iterable[Problem]") -> str:
    """One object: whether all is well, which documents are good, and the problems."""
    from dataclasses import asdict

    found = [asdict(problem) for problem in problems]
    documents = sorted(document.place for document in world.documents.values())
    return json.dumps({"ok": not found, "documents": documents, "problems": found}, indent=2)
