"""Which web pages of other origins may read answers (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from sidecar.config.model.base import LABEL_PATTERN, Duration, Model, refusal
from sidecar.config.model.header import HeaderName, Method

_ANY = "*"
_HOST = rf"{LABEL_PATTERN}(\.{LABEL_PATTERN})*|\[[0-9a-f:.]+\]"
# As browsers write it: in lower case, without a slash, without the port that the scheme implies.
_ORIGIN = re.compile(rf"[a-z][a-z0-9+.-]*://(\*\.)?({_HOST})(:[1-9][0-9]{{0,4}})?")
_IMPLIED_PORT = re.compile(r"(http://.*):80|(https://.*):443")
_EXPECTED = "`*`, or origins such as https://shop.example.com or https://*.example.com"


def _check_origin(value: object) -> object:
    if not isinstance(value, str) or value == _ANY:
        return value
    implied = _IMPLIED_PORT.fullmatch(value)
    if _ORIGIN.fullmatch(value) and not implied:
        return value
    # Scheme, two slashes and the host, as far as they stand there.
    plain = "/".join(value.lower().split("/")[:3])
    if found := _IMPLIED_PORT.fullmatch(plain):
        plain = found[1] or found[2]
    hint = f"did you mean `{plain}`?" if _ORIGIN.fullmatch(plain) else ""
    raise refusal(f"no page has this origin: `{value}`", expected=_EXPECTED, hint=hint)


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    if not origins:
        raise refusal("no page may read answers, as without `cors`", expected=_EXPECTED)
    return origins


def _check_credentials(allowed: bool, info: ValidationInfo) -> bool:
    # A list that is refused itself is absent.
    starred = [name for name, value in info.data.items() if isinstance(value, tuple) and _ANY in value]
    if allowed and starred:
        fields = " and ".join(f"`{name}`" for name in starred)
        raise refusal(
            f"browsers take no `*` from whom they send credentials, and {fields} has one",
            expected="the origins, methods and headers themselves",
        )
    return allowed


Origin = Annotated[
    str,
    BeforeValidator(_check_origin),
    Field(json_schema_extra={"pattern": rf"^(\*|{_ORIGIN.pattern})$"}),
]


class Cors(Model):
    """Pages of these origins may read answers, and calls by gRPC-Web are allowed what they need. The gateway answers
    preflights, and replaces what the application says of other origins.
    """

    allow_origins: Annotated[tuple[Origin, ...], AfterValidator(_check_origins)] = Field(
        description="`*` is any, https://*.example.com one label below it."
    )
    # Those that need no preflight by themselves, as the Gateway API of Kubernetes has it.
    allow_methods: tuple[Method, ...] = Field(
        default=("GET", "HEAD", "POST"), min_length=1, description="Methods that pages may use."
    )
    allow_headers: tuple[HeaderName, ...] = Field(default=(), description="Further headers that pages may send.")
    expose_headers: tuple[HeaderName, ...] = Field(default=(), description="Further headers that pages may read.")
    max_age: Duration | None = Field(
        default=None, description="How long browsers keep a preflight's answer; left out: 5 s."
    )
    allow_credentials: Annotated[bool, AfterValidator(_check_credentials)] = Field(
        default=False, description="Pages may read answers to requests with cookies and the like."
    )
