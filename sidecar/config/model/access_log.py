"""One line for each exchange: which of them, and what stands in it."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from sidecar.config.model.base import Model, PositiveDuration, Share, refusal, refuse_all
from sidecar.config.spelling import did_you_mean, listed

# What a pattern can tell (dataplane/src/snapshot/model/access_log.rs); in lower case these are the fields of JSON.
FIELDS = tuple(
    "TIME COMMON_TIME DIRECTION LISTENER REQUEST_ID TRACE_ID SPAN_ID METHOD AUTHORITY PATH PROTOCOL STATUS GRPC_STATUS "  # noqa: SIM905
    "REASON DETAIL RULE CONFIG TOLD ROUTE CLUSTER ENDPOINT ATTEMPTS DURATION_MS BYTES_RECEIVED BYTES_SENT PEER "
    "UPSTREAM_PEER CLIENT PROXY USER_AGENT REFERER".split()
)
# Those of httpd (https://httpd.apache.org/docs/2.4/logs.html#accesslog), without the query, which may hold credentials.
_COMMON = '%CLIENT% - - [%COMMON_TIME%] "%METHOD% %PATH% %PROTOCOL%" %STATUS% %BYTES_SENT%'
PATTERNS = {"json": "", "common": _COMMON, "combined": f'{_COMMON} "%REFERER%" "%USER_AGENT%"'}


def _check_format(value: object) -> object:
    if not isinstance(value, str) or value in PATTERNS:
        return value
    if "%" not in value:
        expected = f"{listed(PATTERNS)}, or a text with fields such as %STATUS%"
        raise refusal(f"`{value}` is no format", expected=expected, hint=did_you_mean(value, PATTERNS))
    if value.count("%") % 2:
        raise refusal("a percent sign is not closed", expected="%FIELD%, or %% for a percent sign")
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise refusal("a format is one line of visible text", expected="no control characters")
    for name in value.split("%")[1::2]:
        if name and name not in FIELDS:
            column = value.index(f"%{name}%")
            raise refusal(
                f"there is no field `%{name}%`",
                expected=listed(FIELDS, limit=len(FIELDS)),
                hint=did_you_mean(name, FIELDS),
                column=column,
            )
    return value


def _check_field(value: object) -> object:
    names = [name.lower() for name in FIELDS]
    if isinstance(value, str) and value not in names:
        raise refusal(f"there is no field `{value}`", expected=listed(names, limit=99), hint=did_you_mean(value, names))
    return value


class Only(Model):
    """Which exchanges get a line although they did not fail. One condition is enough."""

    min_status: int | None = Field(default=None, ge=100, le=599, description="At least this status: 400.")
    slower_than: PositiveDuration | None = Field(default=None, description="Longer than this: 1s.")

    @model_validator(mode="after")
    def _check_any(self) -> Self:
        if self.min_status is None and self.slower_than is None:
            refuse_all([((), self, refusal("this says nothing", expected="`min_status` or `slower_than`"))])
        return self


class AccessLog(Model):
    """One line for each exchange, on standard output, or where `--access-log` says."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"fields", "sinks"})

    enabled: bool = Field(default=True, description="false: no access log.")
    format: Annotated[str, BeforeValidator(_check_format)] = Field(
        default="json",
        description="`json`, `common` and `combined` as httpd has them, or a text with fields: "
        '"%METHOD% %PATH%: %STATUS% %REASON%".',
    )
    sample: Share = Field(default=Decimal(1), description="How many of those that did not fail get a line.")
    only: Only | None = Field(
        default=None, description="Lines for failures, and for what is told here; all if left out."
    )
    redact: tuple[Annotated[str, BeforeValidator(_check_field)], ...] = Field(
        default=(), description="Fields whose value is not told, such as `client` or `path`."
    )
