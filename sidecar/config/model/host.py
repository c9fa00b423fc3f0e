"""Hosts as routes write them: lower case, without port."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

from sidecar.config.model.base import LABEL_PATTERN, refusal

_NAME = re.compile(rf"{LABEL_PATTERN}(\.{LABEL_PATTERN})*\.?")


def _check_host(value: object) -> object:
    name = value.removeprefix("*.") if isinstance(value, str) else ""
    return _checked(value, name, "a host such as shop.example.com, or *.example.com")


def _check_exact_host(value: object) -> object:
    return _checked(value, value if isinstance(value, str) else "", "a host such as shop.example.com")


def _checked(value: object, name: str, expected: str) -> object:
    if not isinstance(value, str) or (_NAME.fullmatch(name) and not value.endswith(".")):
        return value
    hint = ""
    if value == "*":
        hint = "leave `host` out to match every host" if "*" in expected else ""
    elif _NAME.fullmatch(name.lower().partition(":")[0]):
        hint = f"did you mean `{value.lower().partition(':')[0].rstrip('.')}`?"
    raise refusal(f"this is not a host: `{value}`", expected=expected, hint=hint)


# "*.example.com" is one label below it.
Host = Annotated[str, BeforeValidator(_check_host)]
ExactHost = Annotated[str, BeforeValidator(_check_exact_host)]
