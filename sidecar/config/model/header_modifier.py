"""Changes of header fields, parameters of the query, and cookies on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from sidecar.config.model.base import Finding, Model, refusal, refuse_all
from sidecar.config.model.header import CookieName, ParameterName, check_field_name, check_value
from sidecar.config.model.template import described, needs_caller, sample

# They frame a message or are of one connection (RFC 9110 section 7.6.1): with others, the next one would read another
# message than this proxy.
_FRAMING = frozenset(
    {
        *("connection", "content-length", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
# By these proxies trace a request, tell who sends it, and share its time and its tries.
_OF_THE_MESH = frozenset(
    {
        *("forwarded", "traceparent", "tracestate", "x-envoy-attempt-count", "x-envoy-expected-rq-timeout-ms"),
        *("x-forwarded-client-cert", "x-forwarded-for", "x-request-id"),
    }
)
# Ours, by which services learn who calls, and those of gRPC
# (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
_RESERVED = ("x-sidecar-", "x-consumer-", "x-anonymous-consumer", "grpc-")


def _check_name(value: object) -> object:
    check_field_name(value)
    if value == "host":
        raise refusal("the host is not changed as a header")
    if value in _FRAMING:
        raise refusal(f"`{value}` is of a connection or frames a message, and the proxy writes it itself")
    # Programs behind CGI's names cannot tell `_` from `-` (RFC 3875 section 4.1.18).
    known = value.replace("_", "-") if isinstance(value, str) else ""
    if known in _OF_THE_MESH or known.startswith(_RESERVED):
        raise refusal(f"`{value}` is what proxies tell each other, and the proxy writes it itself")
    return value


ChangedName = Annotated[str, BeforeValidator(_check_name)]


def _check_field(value: object) -> object:
    if isinstance(value, str):
        check_value(sample(value))
    return value


# RFC 3986 section 3.4, without what ends a parameter.
_OF_QUERY = re.compile(r"(?:[A-Za-z0-9._~!$'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
# RFC 6265 section 4.1.1.
_OF_COOKIE = re.compile(r"[!#-+\--:<-\[\]-~]*")


def _check_parameter(value: object) -> object:
    if isinstance(value, str) and not _OF_QUERY.fullmatch(sample(value)):
        raise refusal("no parameter has this value", expected="text as URLs have it: `a%%20b` for `a b`")
    return value


def _check_cookie(value: object) -> object:
    if isinstance(value, str) and not _OF_COOKIE.fullmatch(sample(value)):
        raise refusal(
            "no cookie has this value", expected="visible ASCII but quotes, commas, semicolons and backslashes"
        )
    return value


FieldValue = Annotated[str, BeforeValidator(_check_field)]
ParameterValue = Annotated[str, BeforeValidator(_check_parameter)]
CookieValue = Annotated[str, BeforeValidator(_check_cookie)]

_ONLY = described("Each of these has this value alone, whatever it had; without a value it is taken away.")
_TOO = "Each of these has this value too."
_GONE = "These are taken away."


class Modifier(Model):
    """What is done to all that has a name and a value."""

    set: dict[str, str] = Field(default={})
    add: dict[str, str] = Field(default={})
    remove: tuple[str, ...] = Field(default=())

    @property
    def needs_caller(self) -> bool:
        """Whether a value of it is known only of who has shown credentials."""
        return any(map(needs_caller, (*self.set.values(), *self.add.values())))

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        refuse_all(self._repeated())
        return self

    def _repeated(self) -> Iterator[Finding]:
        message = "`{}` stands in `{}` already: one thing can be done to it here"
        for name, value in self.add.items():
            if name in self.set:
                yield ("add", name), value, refusal(message.format(name, "set"))
        for index, name in enumerate(self.remove):
            if field := next((field for field in ("set", "add") if name in getattr(self, field)), None):
                yield ("remove", index), name, refusal(message.format(name, field))


class HeaderModifier(Modifier):
    """What is done to header fields, of gRPC to metadata. Trailers stay as they are."""

    set: dict[ChangedName, FieldValue] = Field(default={}, description=_ONLY)
    add: dict[ChangedName, FieldValue] = Field(default={}, description=_TOO)
    remove: tuple[ChangedName, ...] = Field(default=(), description=_GONE)


class QueryModifier(Modifier):
    """What is done to parameters of the query, which is written as in URLs: `a%%20b` for `a b`. Facts are escaped."""

    set: dict[ParameterName, ParameterValue] = Field(default={}, description=_ONLY)
    add: dict[ParameterName, ParameterValue] = Field(default={}, description=_TOO)
    remove: tuple[ParameterName, ...] = Field(default=(), description=_GONE)


class CookieModifier(Modifier):
    """What is done to cookies of requests. Of facts, what no cookie can have is escaped: `%20` for a space."""

    set: dict[CookieName, CookieValue] = Field(default={}, description=_ONLY)
    add: dict[CookieName, CookieValue] = Field(default={}, description=_TOO)
    remove: tuple[CookieName, ...] = Field(default=(), description=_GONE)
