"""A directory of documents and Consul's KV, compared and moved: what differs, push by compare-and-set, pull.

Every write names the ModifyIndex that was compared, so what somebody else changed meanwhile is never overwritten. What
was written is equal at the next comparison: the same command goes on after an interruption.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from sidecar.config.document import DocumentSet
from sidecar.config.load import FOLDERS, MAX_BYTES, PREFIX, consul_name, key_of_consul
from sidecar.consul.advice import missing_rule
from sidecar.consul.client import ConsulClient
from sidecar.errors import ConfigError, ConsulError, Problem
from sidecar.sources.files import FileSource
from sidecar.world import World

# Consul's bounds of a transaction: operations (not configurable), and the request's bytes (limits.txn_max_req_len).
MOST_OPERATIONS, MOST_BYTES = 128, 512 * 1024

_Kind = Literal["create", "update", "delete"]


@dataclass(frozen=True, slots=True)
class Change:
    """What makes one key of Consul as the directory has it."""

    kind: _Kind
    # "sidecar/services/orders".
    name: str
    # ModifyIndex that was compared; 0 for a key that is not there.
    index: int
    before: bytes = field(default=b"", repr=False)
    after: bytes = field(default=b"", repr=False)

    def operation(self) -> dict[str, object]:
        """As Consul's transactions have it."""
        verb = "delete-cas" if self.kind == "delete" else "cas"
        told: dict[str, object] = {"Verb": verb, "Key": self.name, "Index": self.index}
        if self.kind != "delete":
            told["Value"] = base64.b64encode(self.after).decode()
        return {"KV": told}


@dataclass(frozen=True)
class Stored:
    """What Consul has below our prefix: by key the ModifyIndex and the value."""

    values: Mapping[str, tuple[int, bytes]]
    # Keys that are no documents, with the reason.
    others: Mapping[str, str]


def local(directory: Path) -> dict[str, bytes]:
    """By key what the directory's documents hold. Raises ConfigError with every problem, SourceError."""
    found: DocumentSet = FileSource(directory).read()
    # Consul knows the services that have no document.
    world = World().apply(replace(found, discovered=True))
    problems = [problem for told in world.refusals.values() for problem in told]
    if not found.documents and not problems:
        problems = [
            Problem(
                str(directory), "there is no document in this directory", "mesh.yaml, services/, gateways/, consumers/"
            )
        ]
    values = {consul_name(key): document.text.encode() for key, document in found.documents.items()}
    problems += [
        Problem(name, "the document is too large", f"at most {MAX_BYTES // 1024} KiB, Consul's limit of a value")
        for name, value in values.items()
        if len(value) > MAX_BYTES
    ]
    if problems:
        raise ConfigError(problems)
    return values


async def stored(client: ConsulClient) -> Stored:
    """What Consul has now, as its leader tells. Raises ConsulError."""
    path = f"/v1/kv/{PREFIX}"
    answer = await client.get(path, {"recurse": "", "consistent": ""})
    if answer.filtered:
        rule = missing_rule("GET", path)
        raise ConsulError(f"Consul hides documents below {PREFIX} from this token; its policy lacks {rule}", 403)
    values: dict[str, tuple[int, bytes]] = {}
    others: dict[str, str] = {}
    for entry in answer.value or ():
        name = entry["Key"]
        if name.endswith("/"):
            continue
        try:
            key_of_consul(name)
            values[name] = entry["ModifyIndex"], base64.b64decode(entry["Value"] or "", validate=True)
        except ConfigError as error:
            others[name] = error.problems[0].message
        except binascii.Error:
            raise ConsulError(
                f"Consul at {client.settings.address} answered {path} with a value of another form"
            ) from None
    return Stored(values, others)


def compare(wanted: Mapping[str, bytes], known: Stored) -> list[Change]:
    """All that differs, in the order in which it is pushed: what others refer to first, what goes away last."""
    changes = [
        Change("update" if name in known.values else "create", name, *known.values.get(name, (0, b"")), after)
        for name, after in sorted(wanted.items(), key=lambda item: _rank(item[0]))
        if known.values.get(name, (0, None))[1] != after
    ]
    gone = [
        Change("delete", name, index, before)
        for name, (index, before) in sorted(known.values.items(), key=lambda item: _rank(item[0]), reverse=True)
        if name not in wanted
    ]
    return changes + gone


def _rank(name: str) -> tuple[int, str]:
    order = ("mesh", *FOLDERS.values())
    return order.index(key_of_consul(name).kind), name


async def push(client: ConsulClient, changes: Iterable[Change]) -> AsyncGenerator[int, None]:
    """Write `changes`, each batch whole or not at all; yields how many were written after each batch.

    Raises ConsulError: what was yielded stands, the rest was not written.
    """
    done = 0
    for batch, body in batches(changes):
        if body is None:
            await _single(client, batch[0])
        elif reasons := await client.txn(body):
            raise _conflict(batch, reasons)
        done += len(batch)
        yield done


def batches(changes: Iterable[Change]) -> Iterator[tuple[list[Change], bytes | None]]:
    """Changes with the body of their transaction; None: one that is too big for any, to be sent alone."""
    batch: list[Change] = []
    parts: list[bytes] = []
    size = 2
    for change in changes:
        part = json.dumps(change.operation(), separators=(",", ":")).encode()
        if batch and (len(batch) == MOST_OPERATIONS or size + len(part) + 1 > MOST_BYTES):
            yield batch, b"[%b]" % b",".join(parts)
            batch, parts, size = [], [], 2
        if len(part) + 2 > MOST_BYTES:
            yield [change], None
            continue
        batch.append(change)
        parts.append(part)
        size += len(part) + 1
    if batch:
        yield batch, b"[%b]" % b",".join(parts)


async def _single(client: ConsulClient, change: Change) -> None:
    path = f"/v1/kv/{change.name}"
    if not await client.put(path, change.after, {"cas": change.index}):
        raise _conflict([change], [])


def _conflict(batch: list[Change], reasons: list[str]) -> ConsulError:
    which = batch[0].name if len(batch) == 1 else f"one of {len(batch)} keys from {batch[0].name} to {batch[-1].name}"
    said = f" ({'; '.join(reasons[:3])})" if reasons else ""
    return ConsulError(f"{which} was changed by somebody else since it was compared{said}")


def file_of(directory: Path, name: str) -> Path:
    """The file that holds a key's document, or will."""
    place = directory / name.removeprefix(PREFIX)
    json_file = place.with_name(f"{place.name}.json")
    return json_file if json_file.exists() else place.with_name(f"{place.name}.yaml")


def write(directory: Path, name: str, value: bytes) -> None:
    """Put a value into its file, in one step. Raises OSError."""
    file = file_of(directory, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    # A hidden file is none of the directory source's.
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(value)
    partial.replace(file)


def read_files(directory: Path, names: Iterable[str]) -> dict[str, bytes]:
    """What the files of these keys hold, of those that exist. Raises OSError."""
    return {name: file.read_bytes() for name in names if (file := file_of(directory, name)).exists()}
