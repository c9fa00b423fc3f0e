"""How a gateway's route changes the path and the host of its requests before they are sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from sidecar.config.model.base import LABEL_PATTERN, Finding, Model, refusal, refuse_all, text
from sidecar.config.model.path import PARAMETER_NAME, PathPattern, TargetPath, canonical
from sidecar.config.model.route import Match
from sidecar.config.model.value_match import Regex
from sidecar.config.spelling import did_you_mean, listed

_NAME = re.compile(rf"\{{({PARAMETER_NAME})\}}")
# A label, or one with parameters in it.
_LABEL = rf"(?:{LABEL_PATTERN}|(?:[a-z0-9-]*\{{{PARAMETER_NAME}\}})+[a-z0-9-]*)"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?"
# What a path may have (RFC 3986), and groups: `\0` is all that was matched.
_SUBSTITUTION = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2}|\\[0-9])*")
_GROUP = re.compile(r"\\([0-9])")


def _check_substitution(value: object) -> object:
    if isinstance(value, str) and (fits := _SUBSTITUTION.match(value)) and fits.end() < len(value):
        at = fits.end()
        expected = "what a path may have, and groups: `/v2/\\1`"
        raise refusal(f"`{value[at]}` does not belong in a path", expected=expected, column=at)
    if isinstance(value, str) and (wanted := canonical(value)) != value:
        raise refusal("escapes are undone or written in capitals in paths", hint=f"did you mean `{wanted}`?")
    return value


class PathSubstitution(Model):
    """Each part of the path that the pattern matches is replaced, as in Envoy; the query stays."""

    pattern: Regex = Field(description="A regular expression (RE2) of parts of the path.")
    substitution: Annotated[str, BeforeValidator(_check_substitution)] = Field(
        description="What takes their place; `\\1` is the first group, `\\0` all of the part."
    )

    @model_validator(mode="after")
    def _check_groups(self) -> Self:
        groups = re.compile(self.pattern).groups
        for group in _GROUP.finditer(self.substitution):
            if int(group[1]) > groups:
                message, expected = f"the pattern has no group {group[1]}", f"{groups} at most"
                error = refusal(message, expected=expected, column=group.start())
                refuse_all([(("substitution",), self.substitution, error)])
        return self


class Rewrite(Model):
    """What is changed in a request before it is sent."""

    path: TargetPath | None = Field(
        default=None,
        description="The new path; `/*` in it is what the star of the match stood for, `{id}` a parameter of the "
        "match's path or a named group of its `path_regex`.",
    )
    regex: PathSubstitution | None = Field(default=None, description="Instead of `path`: parts of it are replaced.")
    host: (
        Annotated[
            str,
            BeforeValidator(text(_HOST, "this is not a host", "a name such as shop.example.com or {tenant}.internal")),
            Field(json_schema_extra={"pattern": f"^{_HOST}$"}),
        ]
        | None
    ) = Field(
        default=None,
        description="The host that the service is asked for, in lower case, with parameters too. X-Forwarded-Host "
        "keeps what the client has asked for.",
    )

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if self.path is None and self.regex is None and self.host is None:
            raise refusal("this changes nothing", expected="`path`, `regex` or `host`")
        if self.path is not None and self.regex is not None:
            refuse_all([(("regex",), self.regex, refusal("`path` is said already, and both change the path"))])
        return self


def wrong_rewrites(match: Match, rewrite: Rewrite) -> Iterator[Finding]:
    """What it asks of a match that has none."""
    names = match.parameters
    if rewrite.path is not None:
        used = [parameter.name for parameter in rewrite.path.parameters]
        yield from _unknown(("path",), str(rewrite.path), used, names)
        yield from _wrong_star(match, rewrite.path)
    if rewrite.host is not None:
        yield from _unknown(("host",), rewrite.host, _NAME.findall(rewrite.host), names)


def _unknown(place: tuple[str], value: str, used: Iterable[str], names: Iterable[str]) -> Iterator[Finding]:
    known = list(names)
    for name in used:
        if name not in known:
            error = refusal(
                f"the match has no parameter `{name}`",
                expected=listed(known),
                hint=did_you_mean(name, known),
                column=value.index(f"{{{name}}}"),
            )
            yield place, value, error


def _wrong_star(match: Match, target: PathPattern) -> Iterator[Finding]:
    place, written = ("path",), str(target)
    if match.path_regex is not None:
        if target.star:
            yield place, written, refusal("`path_regex` has no star", expected="groups of it with names: `/v2/{id}`")
        return
    taken = match.taken_path
    rest = next((parameter for parameter in taken.parameters if parameter.is_rest), None)
    at_end = rest is not None and target.with_rest(rest.name).star
    if rest is not None and not target.star:
        places = [parameter.segment for parameter in target.parameters if parameter.name == rest.name]
        if places and places != [len(target.segments) - 1]:
            yield place, written, refusal(f"`{{{rest.name}}}` is many segments", expected="it alone, at the end")
            return
    if (target.star or at_end) != taken.star:
        where = f"`{taken}`, the path of the match, has {'one' if taken.star else 'none'}"
        yield place, written, refusal("the rewrite and the match both have a star, or neither", expected=where)
