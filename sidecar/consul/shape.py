"""The form of Consul's answers: what is not as its API has it is an error, never half used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.errors import ConsulError


def rows(value: object, path: str) -> list[Mapping[str, Any]]:
    """The decoded answer of `path` as a list of objects; nothing is an empty list. Raises ConsulError."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
        raise odd(path, "a list of objects")
    return value


def fields(value: object, path: str) -> Mapping[str, Any]:
    """The same as one object; nothing is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise odd(path, "an object")
    return value


def odd(path: str, expected: str) -> ConsulError:
    """An answer of another form. It tells nothing, so what was known stays."""
    return ConsulError(f"Consul answered {path} with something that is not its API: expected {expected}")
