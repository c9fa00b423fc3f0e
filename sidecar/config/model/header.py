"""What stands in the head of a request: methods, header fields, cookies."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

from sidecar.config.model.base import refusal, text

# RFC 9110 5.6.2 token.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 5.5: visible ASCII with spaces and tabs inside.
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?")


def is_token(text: str) -> bool:
    """Whether it can be a name: of a header, a method, a cookie."""
    return _TOKEN.fullmatch(text) is not None


def _check_method(value: object) -> object:
    if isinstance(value, str) and not (is_token(value) and value == value.upper()):
        hint = f"did you mean `{value.upper()}`?" if is_token(value) else ""
        raise refusal(f"this is not a method: `{value}`", expected="a method such as GET or POST", hint=hint)
    return value


def check_field_name(value: object) -> None:
    """Refuses text that is no name of a header in lower case."""
    if isinstance(value, str):
        if not is_token(value):
            raise refusal(f"this is not a header name: `{value}`", expected="a name such as x-beta")
        if value != value.lower():
            raise refusal("header names are written in lower case", hint=f"did you mean `{value.lower()}`?")


def _check_header_name(value: object) -> object:
    check_field_name(value)
    if value == "host":
        raise refusal("the host is not matched as a header", hint="a gateway's route has `match: {host: ...}`")
    return value


def _check_header_value(value: object) -> object:
    if isinstance(value, str) and not _HEADER_VALUE.fullmatch(value):
        raise refusal("no header can have this value", expected="visible ASCII without spaces at either end")
    return value


def _check_cookie_name(value: object) -> object:
    if isinstance(value, str) and not is_token(value):
        raise refusal(f"this is no name of a cookie: `{value}`", expected="a name such as session")
    return value


def check_value(value: str) -> None:
    """Refuses text that no field can hold."""
    _check_header_value(value)


Method = Annotated[str, BeforeValidator(_check_method)]
HeaderName = Annotated[str, BeforeValidator(_check_header_name)]
HeaderValue = Annotated[str, BeforeValidator(_check_header_value)]
# As requests write it.
ParameterName = Annotated[
    str,
    BeforeValidator(text(r"[^&=#\s]+", "this is no name of a parameter", "such as page, as requests write it")),
]
CookieName = Annotated[str, BeforeValidator(_check_cookie_name)]
