"""What a gateway answers by itself: redirects, responses of a route, and pages in place of explanations."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sidecar.config.model.base import Model, refusal, refuse_all, text
from sidecar.config.model.header import HeaderValue
from sidecar.config.model.header_modifier import ChangedName
from sidecar.config.model.host import ExactHost
from sidecar.config.model.path import PlainPath
from sidecar.config.model.traffic import Statuses

# Bytes: they stand in each snapshot, and leave in one piece. Envoy has 4 KiB (max_direct_response_body_size_bytes).
_MAX_BODY = 16 << 10
# RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
_WITHOUT_BODY = (204, 205, 304)
# RFC 9110 section 8.3.1, with parameters.
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_CONTENT_TYPE = rf'{_WORD}/{_WORD}( *; *{_WORD}=({_WORD}|"[ !#-\[\]-~]*"))*'

# RFC 9110 section 15.4: those that name another place.
RedirectStatus = Literal[301, 302, 303, 307, 308]
WholeContentType = Annotated[
    str,
    BeforeValidator(text(_CONTENT_TYPE, "this is no type of content", "one such as text/html; charset=utf-8")),
]


def _check_body(body: str) -> str:
    if (size := len(body.encode())) > _MAX_BODY:
        raise refusal(f"this has {size} bytes", expected="at most 16KiB", hint="let a service answer with more")
    return body


Body = Annotated[str, AfterValidator(_check_body)]


class Redirect(Model):
    """Where clients are sent; what is left out stays as it was in the request."""

    # As in the Gateway API.
    status: RedirectStatus = Field(default=302, description="301 and 308 are for ever, 307 and 308 keep the method.")
    scheme: Literal["http", "https"] | None = Field(default=None, description="Left out: that of the request.")
    host: ExactHost | None = Field(default=None, description="Without port. Left out: that of the request.")
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Left out: with `scheme` or `host` that of the scheme, else that of the request.",
    )
    path: PlainPath | None = Field(
        default=None, description="The whole path, or with `/*` what takes the place of the match's before its star."
    )
    strip_query: bool = Field(default=False, description="true: without the query of the request.")

    @property
    def leads_back(self) -> bool:
        """But for the path."""
        return self.scheme is None and self.host is None and self.port is None

    @model_validator(mode="after")
    def _check_any(self) -> Self:
        if self.path is None and self.leads_back:
            error = refusal("this leads back to itself", expected="`scheme`, `host`, `port` or `path`")
            refuse_all([((), self, error)])
        return self


def _check_status(status: int) -> int:
    if not 200 <= status <= 599:
        raise refusal(f"`{status}` is no status of an answer", expected="200 to 599")
    return status


class DirectResponse(Model):
    """What a route answers by itself. Callers of gRPC get gRPC's status for it, and the body as words."""

    status: Annotated[int, AfterValidator(_check_status)] = Field(description="Status of HTTP, 200 to 599.")
    headers: dict[ChangedName, HeaderValue] = Field(
        default={}, description="Its fields; with a body, `content-type` is text/plain; charset=utf-8 if left out."
    )
    body: Body = Field(default="", description="Text, at most 16KiB.")

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        if self.body and self.status in _WITHOUT_BODY:
            refuse_all([(("body",), self.body, refusal(f"an answer with status {self.status} has no content"))])
        return self


def _check_statuses(statuses: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    if not statuses:
        raise refusal("an empty list is a page for no answer", expected="statuses such as [404, 500-599]")
    if wrong := next((first for first, _ in statuses if first < 400), None):
        raise refusal(f"`{wrong}` is no error", expected="statuses from 400 to 599")
    return statuses


class ErrorPage(Model):
    """What callers get, but for those of gRPC, in place of an explanation of this gateway or of a service's sidecar."""

    statuses: Annotated[tuple[Statuses, ...], Field(max_length=64), AfterValidator(_check_statuses)] = Field(
        description="Of which answers: [404, 500-599]. The status stays."
    )
    content_type: WholeContentType = Field(default="text/html; charset=utf-8", description="What the page is.")
    body: Body = Field(description="The page, at most 16KiB.")


ErrorPages = Annotated[tuple[ErrorPage, ...], Field(max_length=64)]
