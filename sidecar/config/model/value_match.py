"""Conditions on one value of a request: of a header, a parameter of the query, or a cookie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from sidecar.config.model.base import Finding, Model, refusal, refuse_all
from sidecar.config.model.header import HeaderValue
from sidecar.config.regex import fault_of

_EXPECTED = "a value, or one of `exact`, `prefix`, `regex` and `present`"


def _check_regex(value: object) -> object:
    if isinstance(value, str) and (fault := fault_of(value)):
        expected = "RE2's syntax, at most 512 characters: no look-around, no references back, no possessive repeats"
        message = f"this is no regular expression that is matched in linear time: {fault.message}"
        raise refusal(message, expected=expected, column=fault.at)
    return value


Regex = Annotated[str, BeforeValidator(_check_regex)]


class ValueMatch(Model):
    """What a value is; the exact value can stand for the whole: `x-beta: "1"`."""

    model_config = ConfigDict(json_schema_extra={"type": ["string", "object"]})

    exact: HeaderValue | None = Field(default=None, description="The whole value.")
    prefix: HeaderValue | None = Field(default=None, description="Its beginning.")
    regex: Regex | None = Field(default=None, description="A regular expression (RE2) of the whole value.")
    present: bool | None = Field(default=None, description="true: there is one, whatever it is; false: there is none.")

    @property
    def asked(self) -> tuple[str, str | bool]:
        """The one field that is said, and what it says."""
        return next((name, value) for name, value in self if value is not None)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, bool | int | float):
            word = str(value).lower()
            raise refusal(f"`{word}` is not text", expected=_EXPECTED, hint=f'did you mean `"{word}"`, in quotes?')
        return {"exact": value} if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _as_written(self, full: SerializerFunctionWrapHandler) -> Any:
        return self.exact if self.exact is not None else full(self)

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        said = [name for name, value in self if value is not None]
        if not said:
            raise refusal("this says nothing of the value", expected=_EXPECTED)
        refuse_all(
            ((name,), getattr(self, name), refusal(f"`{said[0]}` is said here already", expected=_EXPECTED))
            for name in said[1:]
        )
        return self


def impossible(values: Mapping[str, ValueMatch], never: Iterable[str], what: str) -> Iterator[Finding]:
    """A finding for each text with one of the characters that such a value never has."""
    for name, match in values.items():
        kind, text = match.asked
        if kind in ("exact", "prefix") and (found := next((sign for sign in never if sign in str(text)), None)):
            yield (name,), text, refusal(f"`{found}` is never in {what} as requests write it")
