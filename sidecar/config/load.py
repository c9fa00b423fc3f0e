"""One document: bytes and a place become a Document, or all problems at once."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from pydantic import ValidationError

from sidecar.config.document import Document, Key, Kind
from sidecar.config.model import Consumer, Gateway, Mesh, Service
from sidecar.config.model.base import LABEL_EXPECTED, LABEL_PATTERN
from sidecar.config.quick import read
from sidecar.config.source import Source
from sidecar.config.spelling import did_you_mean
from sidecar.config.tree import Path, Tree
from sidecar.errors import ConfigError, Problem

# Consul's default limit of a KV value (kv_max_value_size): the same document can move there.
MAX_BYTES = 512 * 1024

# Name of the cluster of the local application, which stands beside those of the services.
RESERVED = "app"
SUFFIXES = (".yaml", ".json")
FOLDERS: dict[str, Kind] = {"services": "service", "gateways": "gateway", "consumers": "consumer"}
_LATER_FOLDERS = frozenset({"plugins"})
_PLACES = "mesh.yaml, services/<service>.yaml, gateways/<gateway>.yaml or consumers/<consumer>.yaml"
# Below it are all documents in Consul's KV.
PREFIX = "sidecar/"
_KEYS = f"{PREFIX}mesh, {PREFIX}services/<service>, {PREFIX}gateways/<gateway> or {PREFIX}consumers/<consumer>"
AnyModel = type[Mesh | Service | Gateway | Consumer]
MODELS: dict[str, AnyModel] = {"mesh": Mesh, "service": Service, "gateway": Gateway, "consumer": Consumer}
# The parts whose places a snapshot names, all else is found again when there is a problem to report.
_NAMED_PARTS = frozenset({"routes", "subsets", "listeners", "upstreams", "allow", "allow_candidate"})


def key_of(place: str) -> Key:
    """Which document a place holds ("services/orders.yaml"). ConfigError: none of ours."""
    if not place.isprintable():
        raise ConfigError([Problem(ascii(place), "this file name cannot be printed", _PLACES)])
    path = PurePosixPath(place)
    if path.suffix not in SUFFIXES:
        hint = f"did you mean `{path.with_suffix('.yaml')}`?" if path.suffix == ".yml" else ""
        raise ConfigError([Problem(place, "a document ends with .yaml or .json", hint=hint)])
    return _key(place, path.with_suffix(""), _PLACES)


def key_of_consul(name: str) -> Key:
    """Which document a key of Consul's KV holds ("sidecar/services/orders"). ConfigError: none of ours."""
    if not name.isprintable():
        raise ConfigError([Problem(ascii(name), "this key cannot be printed", _KEYS)])
    path = PurePosixPath(name.removeprefix(PREFIX))
    if path.suffix in (*SUFFIXES, ".yml"):
        hint = f"did you mean `{PREFIX}{path.with_suffix('')}`?"
        raise ConfigError([Problem(name, "a key has no suffix; its value is YAML or JSON", _KEYS, hint)])
    return _key(name, path, _KEYS)


def consul_name(key: Key) -> str:
    """The key of Consul's KV that holds a document."""
    if key.kind == "mesh":
        return f"{PREFIX}mesh"
    return f"{PREFIX}{next(folder for folder, kind in FOLDERS.items() if kind == key.kind)}/{key.name}"


def _key(place: str, path: PurePosixPath, places: str) -> Key:
    """`path` is below the root and without a suffix."""
    if path.parts == ("mesh",):
        return Key("mesh", "")
    if len(path.parts) != 2 or path.parts[0] not in FOLDERS:
        raise ConfigError([_misplaced(place, path, places)])
    kind, name = FOLDERS[path.parts[0]], path.name
    if name == RESERVED and kind == "service":
        raise ConfigError([Problem(place, f"`{RESERVED}` names the application beside a sidecar", "another name")])
    if not re.fullmatch(LABEL_PATTERN, name):
        raise ConfigError([Problem(place, f"this is not a name of a {kind}: `{name}`", LABEL_EXPECTED)])
    return Key(kind, name)


def _misplaced(place: str, path: PurePosixPath, places: str) -> Problem:
    if len(path.parts) <= 1:
        return Problem(place, "this is not a document", places, did_you_mean(path.name, ["mesh"]))
    folder = path.parts[0]
    if folder in _LATER_FOLDERS:
        return Problem(place, f"documents under `{folder}` are not supported yet", places)
    return Problem(place, "this is not a place of a document", places, did_you_mean(folder, FOLDERS))


def load(place: str, data: bytes, key: Key | None = None) -> Document:
    """Read and check one document; `key` names it when its place is no file. ConfigError: all its problems."""
    key = key or key_of(place)
    # What stands in a consumer is shown to nobody: a password may have been written where its hash should be.
    source = Source(place, _decode(place, data), is_secret=key.kind == "consumer")
    model = MODELS[key.kind]
    if (quick := read(source.text, _NAMED_PARTS)) is not None:
        try:
            places = {path: source.at(mark) for path, mark in quick.marks.items()}
            return Document(key, place, source.text, model.model_validate(quick.value), places)
        except ValidationError:
            # Told below, with its places.
            pass
    return _load_marked(key, source, model)


def _load_marked(key: Key, source: Source, model: AnyModel) -> Document:
    """As `load`, by the slow reader, which tells every problem at its place."""
    # Here, for most processes never need them.
    from sidecar.config.explain import explain
    from sidecar.config.marked import parse

    tree = parse(source)
    try:
        checked = model.model_validate(tree.value)
    except ValidationError as error:
        raise ConfigError(explain(error, model, source, tree)) from None
    if tree.flaws:
        raise ConfigError(flaw.problem for flaw in tree.flaws)
    return Document(key, source.place, source.text, checked, _named_places(source, tree))


def _decode(place: str, data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise ConfigError([Problem(place, "the document is too large", f"at most {MAX_BYTES // 1024} KiB")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise ConfigError([Problem(f"{place}:{line}:{column}", message, "text in UTF-8")]) from None


def _named_places(source: Source, tree: Tree) -> dict[Path, str]:
    return {
        path: source.at(mark)
        for path, mark in tree.marks.items()
        if not path or (len(path) == 2 and path[0] in _NAMED_PARTS)
    }
