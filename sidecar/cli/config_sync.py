"""`sidecar config push`, `pull` and `diff`: a directory of documents and Consul's KV."""

import difflib
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli import arguments

if TYPE_CHECKING:
    from sidecar.consul.client import ConsulClient
    from sidecar.sources.kv_sync import Change, Stored

# Exit code of `diff` when there is a difference, as that of a check that found something.
DIFFERENT = 3

PUSH_HELP = """
Write a directory of documents to Consul's KV.

Every document is checked first; nothing is sent when one is bad. What is written is compared first, so nobody's change
is overwritten, and the same command goes on where an interrupted one stopped.

Examples:

\b
  sidecar config push ./mesh
  sidecar config push ./mesh --prune        # also delete what is in Consul only
"""

PULL_HELP = """
Write the documents of Consul's KV to a directory.

Files that differ are left alone unless --overwrite is given.

Example:

\b
  sidecar config pull ./mesh
"""

DIFF_HELP = """
Show what `push --prune` would change in Consul.

Ends with 0 when nothing differs, with 3 when something does.

Example:

\b
  sidecar config diff ./mesh
"""

Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="The directory with mesh.yaml, services/, gateways/, consumers/.")
]


def push(
    directory: Directory,
    prune: Annotated[bool, typer.Option("--prune", help="Delete documents that are in Consul only.")] = False,
    consul_addr: arguments.ConsulAddress = "",
    consul_token_file: arguments.ConsulTokenFile = "",
) -> None:
    """Compare, then write what differs."""
    import asyncio

    asyncio.run(_push(directory, prune, consul_addr, consul_token_file))


def pull(
    directory: Directory,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that differ.")] = False,
    consul_addr: arguments.ConsulAddress = "",
    consul_token_file: arguments.ConsulTokenFile = "",
) -> None:
    """Write every document of Consul to its file."""
    import asyncio

    asyncio.run(_pull(directory, overwrite, consul_addr, consul_token_file))


def diff(
    directory: Directory,
    consul_addr: arguments.ConsulAddress = "",
    consul_token_file: arguments.ConsulTokenFile = "",
) -> None:
    """Print every difference."""
    import asyncio

    raise typer.Exit(asyncio.run(_diff(directory, consul_addr, consul_token_file)))


async def _push(directory: Path, prune: bool, address: str, token_file: str) -> None:
    from sidecar.errors import ConsulError
    from sidecar.sources import kv_sync

    wanted = kv_sync.local(directory)
    async with _client(address, token_file) as client:
        known = await kv_sync.stored(client)
        changes = kv_sync.compare(wanted, known)
        kept = [] if prune else [change for change in changes if change.kind == "delete"]
        changes = [change for change in changes if change not in kept]
        _tell_others(known)
        for change in kept:
            typer.echo(f"only in Consul: {change.name}; --prune deletes it", err=True)
        done = 0
        try:
            async for written in kv_sync.push(client, changes):
                for change in changes[done:written]:
                    typer.echo(f"{change.kind} {change.name}")
                done = written
        except ConsulError as error:
            raise ConsulError(
                f"{error}; {done} of {len(changes)} changes are written: run the same command again to go on"
            ) from None
    equal = len(wanted) - sum(change.kind != "delete" for change in changes)
    typer.echo(f"ok: {len(changes)} changed, {equal} as they were", err=True)


async def _pull(directory: Path, overwrite: bool, address: str, token_file: str) -> None:
    from sidecar.errors import SourceError
    from sidecar.sources import kv_sync

    async with _client(address, token_file) as client:
        known = await kv_sync.stored(client)
    _tell_others(known)
    try:
        present = kv_sync.read_files(directory, known.values)
        different = [name for name in present if present[name] != known.values[name][1]]
        if different and not overwrite:
            files = ", ".join(str(kv_sync.file_of(directory, name)) for name in different)
            raise SourceError(f"these files differ from Consul and are kept: {files}; --overwrite replaces them")
        written = 0
        for name, (_, value) in sorted(known.values.items()):
            if present.get(name) != value:
                kv_sync.write(directory, name, value)
                typer.echo(str(kv_sync.file_of(directory, name)))
                written += 1
    except OSError as error:
        raise SourceError(f"{error.filename} cannot be read or written: {error.strerror}") from None
    typer.echo(f"ok: {written} written, {len(known.values) - written} as they were", err=True)


async def _diff(directory: Path, address: str, token_file: str) -> int:
    from sidecar.sources import kv_sync

    wanted = kv_sync.local(directory)
    async with _client(address, token_file) as client:
        known = await kv_sync.stored(client)
    _tell_others(known)
    changes = kv_sync.compare(wanted, known)
    for change in changes:
        typer.echo(_shown(change))
    return DIFFERENT if changes else os.EX_OK


def _shown(change: "Change") -> str:
    """ "update sidecar/services/orders (index 12)" and the lines that differ."""
    index = f" (index {change.index})" if change.index else ""
    lines = difflib.unified_diff(
        change.before.decode(errors="replace").splitlines(),
        change.after.decode(errors="replace").splitlines(),
        "Consul",
        "directory",
        lineterm="",
    )
    return "\n".join([f"{change.kind} {change.name}{index}", *(f"  {line}" for line in lines)])


def _tell_others(known: "Stored") -> None:
    for name, reason in known.others.items():
        typer.echo(f"left alone: {name}: {reason}", err=True)


@asynccontextmanager
async def _client(address: str, token_file: str) -> "AsyncGenerator[ConsulClient, None]":
    from sidecar.consul import settings
    from sidecar.consul.client import ConsulClient

    client = ConsulClient(settings.read(os.environ, address=address, token_file=token_file))
    try:
        yield client
    finally:
        await client.close()
