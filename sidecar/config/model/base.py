"""What every document model shares: the strict base, the types with units, the names, and how a check refuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

# Error types that explain.py reads; their context may hold "expected", "hint" and "column".
REFUSED = "refused"
NOT_YET = "not_yet"


class Model(BaseModel):
    """A part of a document: unknown fields are refused, nothing is converted, nothing changes after it was read."""

    # Built when the first document of its kind is read: that takes milliseconds for each, and a sidecar reads none of a
    # gateway.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    # Fields of the full form that are not carried out yet; they are refused by name rather than ignored.
    not_yet: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def defaults(cls) -> Self:
        """What a part says that is left out; it need not be built for that."""
        return cls.model_construct()

    @classmethod
    def written_fields(cls) -> dict[str, FieldInfo]:
        """Its fields by the names that documents have: `from` cannot be an attribute's."""
        return {info.alias or name: info for name, info in cls.model_fields.items()}


def refusal(message: str, *, expected: str = "", hint: str = "", column: int = 0) -> PydanticCustomError:
    """An error for a validator to raise. `column` counts characters into the text value, from 0."""
    context = {"message": message, "expected": expected, "hint": hint, "column": column}
    return PydanticCustomError(REFUSED, "{message}", context)


# Where below the validated value, the value there, and what is wrong with it.
Finding = tuple[tuple[str | int, ...], object, PydanticCustomError]


def refuse_all(found: Iterable[Finding]) -> None:
    """Raise all findings at once; with none, return."""
    details = [InitErrorDetails(type=error, loc=path, input=value) for path, value, error in found]
    if details:
        raise ValidationError.from_exception_data("document", details)


def later(is_later: Callable[[object], str | None]) -> BeforeValidator:
    """Refuses values of the full form that are not carried out yet; `is_later` names what the value asks for."""

    def check(value: object) -> object:
        if asked := is_later(value):
            raise PydanticCustomError(NOT_YET, "{message}", {"message": f"{asked} is not supported yet"})
        return value

    return BeforeValidator(check)


def later_words(*words: str) -> BeforeValidator:
    """Refuses these words as not supported yet."""
    return later(lambda value: f"`{value}`" if value in words else None)


# --- types with units ---------------------------------------------------------------------------------------------

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_DURATION = re.compile(r"([0-9]{1,10}(?:\.[0-9]{1,3})?)(ms|s|m|h)")
_DURATION_EXPECTED = "a number with its unit ms, s, m or h, such as 100ms, 5s or 1m"
# The data plane reads milliseconds in 32 bits: 49.7 days.
_LONGEST = timedelta(days=49)
_LONGEST_OF_ALL = timedelta(days=3650)


def parse_duration(value: object) -> timedelta:
    """ "5s", "100ms", "1.5m" -> timedelta; whole milliseconds."""
    duration = _parse_duration(value)
    if duration > _LONGEST:
        raise refusal("this duration is too long", expected="at most 49 days (1176h)")
    return duration


def _parse_duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise refusal(f"`{value}` has no unit", expected=_DURATION_EXPECTED, hint=f"did you mean `{value}s`?")
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise refusal("this is not a duration", expected=_DURATION_EXPECTED)
    milliseconds = Decimal(match[1]) * _UNITS[match[2]]
    if milliseconds != int(milliseconds):
        raise refusal("a duration is a whole number of milliseconds", expected=_DURATION_EXPECTED)
    return timedelta(milliseconds=int(milliseconds))


def parse_long_duration(value: object) -> timedelta:
    """As `parse_duration`, of what may last for years, in whole seconds: "8760h"."""
    duration = _parse_duration(value)
    if duration > _LONGEST_OF_ALL:
        raise refusal("this duration is too long", expected="at most 10 years (87600h)")
    if duration % timedelta(seconds=1):
        raise refusal("this duration is a whole number of seconds", expected=_DURATION_EXPECTED)
    return duration


def format_duration(value: timedelta) -> str:
    """The shortest text that parse_duration reads as `value`."""
    milliseconds = value // timedelta(milliseconds=1)
    for unit, size in reversed(_UNITS.items()):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


Duration = Annotated[
    timedelta,
    PlainValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": rf"^{_DURATION.pattern}$", "examples": ["5s", "100ms", "1m"]}),
]

LongDuration = Annotated[
    timedelta,
    PlainValidator(parse_long_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": rf"^{_DURATION.pattern}$", "examples": ["8760h"]}),
]


def _check_positive(value: timedelta) -> timedelta:
    if not value:
        raise refusal("this must be longer than 0", expected=_DURATION_EXPECTED, hint="the longest is 49 days (1176h)")
    return value


PositiveDuration = Annotated[Duration, AfterValidator(_check_positive)]

_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)")
_SIZE_EXPECTED = "a whole number with its unit B, KiB, MiB or GiB, such as 64KiB"


def parse_size(value: object) -> int:
    """ "64KiB" -> 65536."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise refusal(f"`{value}` has no unit", expected=_SIZE_EXPECTED, hint=f"did you mean `{value}B`?")
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise refusal("this is not a size", expected=_SIZE_EXPECTED)
    return int(match[1]) * _SIZES[match[2]]


def format_size(value: int) -> str:
    """The shortest text that parse_size reads as `value`."""
    for unit, size in reversed(_SIZES.items()):
        if value and value % size == 0:
            return f"{value // size}{unit}"
    return f"{value}B"


def size_between(least: int, most: int) -> AfterValidator:
    """Bounds of a Size, both included."""

    def check(value: int) -> int:
        if not least <= value <= most:
            expected = f"a size from {format_size(least)} to {format_size(most)}"
            raise refusal(f"`{format_size(value)}` is out of range", expected=expected)
        return value

    return AfterValidator(check)


Size = Annotated[
    int,
    PlainValidator(parse_size),
    PlainSerializer(format_size, return_type=str),
    WithJsonSchema({"type": "string", "pattern": rf"^{_SIZE.pattern}$", "examples": ["60KiB", "10MiB"]}),
]

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_SHARE_EXPECTED = "a share from 0% to 100%, such as 5% or 0.1%"


def parse_share(value: object) -> Decimal:
    """ "5%" -> Decimal("0.05")."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise refusal(f"`{value}` has no unit", expected=_SHARE_EXPECTED)
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if match is None or Decimal(match[1]) > 100:
        raise refusal("this is not a share", expected=_SHARE_EXPECTED)
    return Decimal(match[1]) / 100


def format_share(value: Decimal) -> str:
    """The text that parse_share reads as `value`."""
    return f"{(value * 100).normalize():f}%"


Share = Annotated[
    Decimal,
    PlainValidator(parse_share),
    PlainSerializer(format_share, return_type=str),
    WithJsonSchema({"type": "string", "pattern": rf"^{_SHARE.pattern}$", "examples": ["100%", "0.1%"]}),
]

# --- names --------------------------------------------------------------------------------------------------------


def text(pattern: str, message: str, expected: str) -> Callable[[object], object]:
    """A check that leaves values of a wrong type to the strict string type."""
    compiled = re.compile(pattern)

    def check(value: object) -> object:
        if isinstance(value, str) and not compiled.fullmatch(value):
            hint = f"did you mean `{value.lower()}`?" if compiled.fullmatch(value.lower()) else ""
            raise refusal(f"{message}: `{value}`", expected=expected, hint=hint)
        return value

    return check


# RFC 1123 label: the name is part of host names (`orders.mesh`, `v1.orders.mesh`) and of SPIFFE ids.
LABEL_PATTERN = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
LABEL_EXPECTED = "1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends"
_ROUTE_NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_DOMAIN_PATTERN = rf"{LABEL_PATTERN}(\.{LABEL_PATTERN})*"

Label = Annotated[
    str,
    BeforeValidator(text(LABEL_PATTERN, "this is not a name", LABEL_EXPECTED)),
    Field(json_schema_extra={"pattern": f"^{LABEL_PATTERN}$"}),
]
RouteName = Annotated[
    str,
    BeforeValidator(text(_ROUTE_NAME_PATTERN, "this is not a route name", "1 to 63 letters, digits, `.`, `_` and `-`")),
    Field(json_schema_extra={"pattern": f"^{_ROUTE_NAME_PATTERN}$"}),
]
Domain = Annotated[
    str,
    BeforeValidator(text(_DOMAIN_PATTERN, "this is not a domain", "lower-case names joined by dots")),
    Field(json_schema_extra={"pattern": f"^{_DOMAIN_PATTERN}$"}),
]
