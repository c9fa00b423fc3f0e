"""What several consumers cannot have together: credentials that would not tell who calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sidecar.config.document import Document, Key
from sidecar.config.model.consumer import Consumer
from sidecar.config.tree import Path


class Clash(NamedTuple):
    """Where in a document stands what another one has."""

    path: Path
    message: str


def clashes(documents: Mapping[Key, Document]) -> dict[Key, list[Clash]]:
    """By document, of those whose credentials an earlier one has, in the order of their names."""
    owners: dict[object, str] = {}
    found: dict[Key, list[Clash]] = {}
    for key in sorted(key for key in documents if key.kind == "consumer"):
        model = documents[key].model
        if not isinstance(model, Consumer):
            continue
        for path, what, credential in _credentials(key.name, model):
            owner = owners.setdefault(credential, key.name)
            if owner != key.name:
                message = f"consumer `{owner}` has this {what}, too: nobody could tell who calls"
                found.setdefault(key, []).append(Clash(path, message))
    return found


def _credentials(name: str, consumer: Consumer) -> Iterator[tuple[Path, str, object]]:
    for index, key in enumerate(consumer.keys):
        yield ("keys", index, "sha256"), "key", ("key", key.sha256)
    for index, password in enumerate(consumer.passwords):
        yield ("passwords", index), "name for a password", ("password", password.username or name)
    for index, token in enumerate(consumer.tokens):
        yield ("tokens", index), "token", ("token", token.issuer, token.claim, token.value)
