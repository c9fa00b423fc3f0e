"""Paths as routes write them: `/api` is only itself, `/api/*` is `/api` and all below it, `/*` is every path.

A parameter stands for one segment that is not empty, `/users/{id}`, and `{rest=**}` at the end is a star with a name.
Requests come in one form of all that mean the same: see dataplane/src/http/path.rs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Annotated, NamedTuple

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from sidecar.config.model.base import refusal

_EXPECTED = "a path such as /api (only itself), /api/* (itself and all below), /users/{id} (any id) or /* (all)"
# RFC 3986 pchar and "/", without the star.
_CHARACTERS = re.compile(r"(?:[A-Za-z0-9._~!$&'()+,;=:@/-]|%[0-9A-Fa-f]{2})*")
# As a group of a regular expression is called, too.
PARAMETER_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PARAMETER = re.compile(rf"\{{({PARAMETER_NAME})\}}")
_REST = re.compile(rf"\{{({PARAMETER_NAME})=\*\*\}}")
# A segment of a pattern's base that stands for any one that is not empty.
ANY = "{}"


class Parameter(NamedTuple):
    """What is called `name` in a path: the segment of this number, from 0, or all from there on."""

    name: str
    segment: int
    is_rest: bool = False


@dataclass(frozen=True, slots=True)
class PathPattern:
    """`base` is what stands before "/*", so "" for "/*"; without the star it is the whole path.

    Parameters are "{}" there: "/users/{}". One with a name may stand for a segment that is known: of what two patterns
    take.
    """

    base: str
    star: bool
    parameters: tuple[Parameter, ...] = ()

    @property
    def segments(self) -> list[str]:
        """Of the base: "/users/{}" -> ["users", "{}"], "/" -> [""], "" -> []."""
        return self.base.split("/")[1:]

    @property
    def is_template(self) -> bool:
        """Whether segments of the base are open."""
        return ANY in self.base

    def __str__(self) -> str:
        names = {parameter.segment: parameter.name for parameter in self.parameters}
        segments = self.segments
        written = [f"{{{names.get(at, '')}}}" if part == ANY else part for at, part in enumerate(segments)]
        if self.star:
            rest = names.get(len(segments))
            written.append(f"{{{rest}=**}}" if rest else "*")
        return below_root(written)

    def with_rest(self, name: str) -> PathPattern:
        """With a star in place of the parameter at the end that has this name."""
        last = self.parameters[-1:]
        if self.star or not last or last[0][:2] != (name, len(self.segments) - 1):
            return self
        return PathPattern(below_root(self.segments[:-1]), True, self.parameters[:-1])

    def covers(self, path: str) -> bool:
        """Whether the path, or everything below it, is matched."""
        if not self.is_template:
            return path == self.base or (self.star and path.startswith(f"{self.base}/"))
        wanted, given = self.segments, path.split("/")[1:]
        is_long = len(given) >= len(wanted) if self.star else len(given) == len(wanted)
        return is_long and all(one in (part, ANY if part else None) for one, part in zip(wanted, given, strict=False))

    def meet(self, other: PathPattern) -> PathPattern | None:
        """The pattern of the paths that both match; None when there are none. Of two names for one thing ours stays."""
        mine, others = self.segments, other.segments
        if (len(others) > len(mine) and not self.star) or (len(mine) > len(others) and not other.star):
            return None
        met = []
        for one, another in zip_longest(mine, others):
            part = _narrower(one, another)
            if part is None:
                return None
            met.append(part)
        star = (self.star or len(mine) < len(others)) and (other.star or len(others) < len(mine))
        return PathPattern(below_root(met), star, (*self.parameters, *self._more(other.parameters)))

    def _more(self, others: Iterable[Parameter]) -> Iterable[Parameter]:
        """Those that are about something else, and have other names."""
        names = {parameter.name for parameter in self.parameters}
        places = {parameter[1:] for parameter in self.parameters}
        return (other for other in others if other.name not in names and other[1:] not in places)


def below_root(segments: Iterable[str]) -> str:
    """["users", "{}"] -> "/users/{}"."""
    return "".join(f"/{segment}" for segment in segments)


def _narrower(one: str | None, other: str | None) -> str | None:
    """Of two segments, where None stands for all that may follow; None: no segment is both."""
    if one is None or other is None or one == other:
        return other if one is None else one
    if ANY not in (one, other):
        return None
    # A parameter is not empty.
    return (other if one == ANY else one) or None


ALL_PATHS = PathPattern("", star=True)

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
# RFC 3986 section 2.3.
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


def canonical(path: str) -> str:
    """With the escapes that a request has when it is routed: "/%7euser/%c3%a9" -> "/~user/%C3%A9"."""

    def written(escape: re.Match[str]) -> str:
        character = chr(int(escape[1], 16))
        return character if _UNRESERVED.fullmatch(character) else escape[0].upper()

    return _ESCAPE.sub(written, path)


def parse_path(value: object) -> PathPattern:
    """ "/users/{id}/*" -> PathPattern("/users/{}", star=True, parameters=(Parameter("id", 1),))."""
    pattern = _parse(value)
    names: set[str] = set()
    for parameter in pattern.parameters:
        if parameter.name in names:
            raise refusal(f"`{parameter.name}` stands here twice", expected="a name of its own for each parameter")
        names.add(parameter.name)
    return pattern


def parse_plain(value: object) -> PathPattern:
    """One without parameters."""
    pattern = _parse(value)
    if pattern.parameters:
        name = pattern.parameters[0].name
        column = value.index(f"{{{name}") if isinstance(value, str) else 0
        raise refusal("parameters do not stand here", expected="a path such as /api or /v2/*", column=column)
    return pattern


def parse_target(value: object) -> PathPattern:
    """What a rewrite makes of a path: a parameter may stand there often."""
    pattern = _parse(value)
    if (last := pattern.parameters[-1:]) and last[0].is_rest:
        name = last[0].name
        raise refusal("`**` is said in the match", expected=f"its name, `{{{name}}}`, or `/*`")
    return pattern


def _parse(value: object) -> PathPattern:
    if isinstance(value, PathPattern):
        return value
    if not isinstance(value, str):
        raise refusal("this is not a path", expected=_EXPECTED)
    if not value.startswith("/"):
        raise refusal("a path begins with `/`", expected=_EXPECTED, hint=f"did you mean `/{value}`?")
    before, _, last = value.rpartition("/")
    rest = _REST.fullmatch(last)
    base, star = (before, True) if last == "*" or rest else (value, False)
    parameters: tuple[Parameter, ...] = ()
    if "{" in base or "}" in base:
        base, parameters = _with_parameters(base)
    _check_literals(base, value, star=star)
    if rest:
        parameters = (*parameters, Parameter(rest[1], base.count("/"), is_rest=True))
    return PathPattern(base, star, parameters)


def _with_parameters(path: str) -> tuple[str, tuple[Parameter, ...]]:
    """The base and its parameters."""
    segments, parameters = path.split("/")[1:], []
    column = 1
    for at, segment in enumerate(segments):
        if named := _PARAMETER.fullmatch(segment):
            parameters.append(Parameter(named[1], at))
            segments[at] = ANY
        elif "{" in segment or "}" in segment:
            raise _wrong_parameter(segment, column)
        column += len(segment) + 1
    return below_root(segments), tuple(parameters)


def _wrong_parameter(segment: str, column: int) -> Exception:
    expected = "a whole segment such as `{id}`, or at the end `{rest=**}`"
    if named := re.fullmatch(rf"\{{({PARAMETER_NAME})=\*\}}", segment):
        return refusal("a parameter is one segment", hint=f"did you mean `{{{named[1]}}}`?", column=column)
    if _REST.fullmatch(segment):
        return refusal("`**` stands only at the end", expected=expected, column=column)
    return refusal(f"`{segment}` is not a parameter", expected=expected, column=column)


def _check_literals(base: str, written: str, *, star: bool) -> None:
    """Refuses what no path of a request has when it is routed."""
    # Columns stay right up to the first mistake where parameters are as long as they were written.
    plain = re.sub(r"\{[^{}/]*\}", lambda braced: "x" * len(braced[0]), written.rpartition("/")[0] if star else written)
    if (wild := plain.find("*")) >= 0:
        hint = f"did you mean `{written[:-1].rstrip('/')}/*`?" if wild == len(written) - 1 else ""
        if plain[wild - 1 : wild + 2] == "/*/":
            hint = "a parameter such as `{id}` stands for one segment"
        raise refusal("`*` stands only at the end, after `/`", expected=_EXPECTED, hint=hint, column=wild)
    allowed = _CHARACTERS.match(plain)
    if allowed is not None and allowed.end() < len(plain):
        at = allowed.end()
        raise refusal(f"`{plain[at]}` does not belong in a path", expected=_EXPECTED, column=at)
    if (wanted := canonical(written)) != written:
        hint = f"did you mean `{wanted}`?"
        raise refusal("escapes are undone or written in capitals before routes are matched", hint=hint)
    if "//" in base or (star and base.endswith("/")):
        raise refusal("a path has no empty part (`//`)", expected=_EXPECTED)
    if any(part in (".", "..") for part in base.split("/")):
        raise refusal("`.` and `..` are resolved before routes are matched", expected=_EXPECTED)


Path = Annotated[
    PathPattern,
    PlainValidator(parse_path),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": rf"^/[^*?#\s]*(\*|\{{{PARAMETER_NAME}=\*\*\}})?$",
            "examples": ["/api/*", "/healthz", "/users/{id}", "/files/{rest=**}", "/*"],
        }
    ),
]
PlainPath = Annotated[
    PathPattern,
    PlainValidator(parse_plain),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^/[^*?#{}\s]*\*?$", "examples": ["/login", "/v2/*"]}),
]
TargetPath = Annotated[
    PathPattern,
    PlainValidator(parse_target),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^/[^*?#\s]*\*?$", "examples": ["/*", "/v2/*", "/v2/{id}"]}),
]
