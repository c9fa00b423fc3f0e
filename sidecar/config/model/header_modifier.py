"""Changes of header fields on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from sidecar.config.model.base import Finding, Model, refusal, refuse_all
from sidecar.config.model.header import HeaderValue, check_field_name

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
# Ours, and those of gRPC (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
_RESERVED = ("x-sidecar-", "grpc-")


def _check_name(value: object) -> object:
    check_field_name(value)
    if value == "host":
        raise refusal("the host is not changed as a header")
    if value in _FRAMING:
        raise refusal(f"`{value}` is of a connection or frames a message, and the proxy writes it itself")
    if value in _OF_THE_MESH or (isinstance(value, str) and value.startswith(_RESERVED)):
        raise refusal(f"`{value}` is what proxies tell each other, and the proxy writes it itself")
    return value


ChangedName = Annotated[str, BeforeValidator(_check_name)]


class HeaderModifier(Model):
    """What is done to header fields, of gRPC to metadata. Trailers stay as they are."""

    set: dict[ChangedName, HeaderValue] = Field(
        default={}, description="Each of these has this value alone, whatever it had."
    )
    add: dict[ChangedName, HeaderValue] = Field(default={}, description="Each of these has this value too.")
    remove: tuple[ChangedName, ...] = Field(default=(), description="These are taken away.")

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        refuse_all(self._repeated())
        return self

    def _repeated(self) -> Iterator[Finding]:
        message = "`{}` stands in `{}` already: one thing can be done to a header here"
        for name, value in self.add.items():
            if name in self.set:
                yield ("add", name), value, refusal(message.format(name, "set"))
        for index, name in enumerate(self.remove):
            if field := next((field for field in ("set", "add") if name in getattr(self, field)), None):
                yield ("remove", index), name, refusal(message.format(name, field))
