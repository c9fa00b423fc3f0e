"""Paths as routes write them: `/api` is only itself, `/api/*` is `/api` and all below it, `/*` is every path.

Requests come in one form of all that mean the same: see dataplane/src/http/path.rs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from sidecar.config.model.base import refusal

_EXPECTED = "a path such as /api (only itself), /api/* (itself and all below) or /* (all)"
# RFC 3986 pchar and "/", without the star.
_CHARACTERS = re.compile(r"(?:[A-Za-z0-9._~!$&'()+,;=:@/-]|%[0-9A-Fa-f]{2})*")


@dataclass(frozen=True, slots=True)
class PathPattern:
    """`base` is what stands before "/*", so "" for "/*"; without the star it is the whole path."""

    base: str
    star: bool

    def __str__(self) -> str:
        return f"{self.base}/*" if self.star else self.base

    def covers(self, path: str) -> bool:
        """Whether the path, or everything below it, is matched."""
        return path == self.base or (self.star and path.startswith(f"{self.base}/"))

    def meet(self, other: PathPattern) -> PathPattern | None:
        """The pattern of the paths that both match; None when there are none."""
        narrow, wide = (self, other) if len(self.base) >= len(other.base) else (other, self)
        if not wide.covers(narrow.base):
            return None
        if narrow.star and narrow.base == wide.base:
            return wide
        return narrow


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
    """ "/api/*" -> PathPattern("/api", star=True)."""
    if isinstance(value, PathPattern):
        return value
    if not isinstance(value, str):
        raise refusal("this is not a path", expected=_EXPECTED)
    if not value.startswith("/"):
        raise refusal("a path begins with `/`", expected=_EXPECTED, hint=f"did you mean `/{value}`?")
    base, star = (value[:-2], True) if value.endswith("/*") else (value, False)
    if (wild := base.find("*")) >= 0:
        hint = f"did you mean `{value[:-1].rstrip('/')}/*`?" if wild == len(value) - 1 else ""
        raise refusal("`*` stands only at the end, after `/`", expected=_EXPECTED, hint=hint, column=wild)
    allowed = _CHARACTERS.match(base)
    if allowed is not None and allowed.end() < len(base):
        at = allowed.end()
        raise refusal(f"`{base[at]}` does not belong in a path", expected=_EXPECTED, column=at)
    if (wanted := canonical(base)) != base:
        hint = f"did you mean `{wanted}{'/*' if star else ''}`?"
        raise refusal("escapes are undone or written in capitals before routes are matched", hint=hint)
    if "//" in base or (star and base.endswith("/")):
        raise refusal("a path has no empty part (`//`)", expected=_EXPECTED)
    if any(part in (".", "..") for part in base.split("/")):
        raise refusal("`.` and `..` are resolved before routes are matched", expected=_EXPECTED)
    return PathPattern(base, star)


Path = Annotated[
    PathPattern,
    PlainValidator(parse_path),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^/[^*?#\s]*\*?$", "examples": ["/api/*", "/healthz", "/*"]}),
]
