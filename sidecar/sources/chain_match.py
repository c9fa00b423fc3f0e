"""Pure: what a route of Consul's routers matches becomes a match of ours."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from sidecar.config.model.path import PathPattern, canonical
from sidecar.config.model.route import Match
from sidecar.config.model.value_match import ValueMatch
from sidecar.config.regex import is_common
from sidecar.consul.fields import Json
from sidecar.world import ChainMatch, HeaderTest

# RFC 3986: what a path may have.
_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
# What stands for something else than itself in a regular expression.
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$&~#-]")


def chain_match(http: Json, *, is_rewritten: bool) -> tuple[ChainMatch | None, list[str], list[str]]:
    """What `Match.HTTP` says; why it cannot be judged, when it is None; and what of it is not carried out."""
    reasons: list[str] = []
    missing: list[str] = []
    headers: list[HeaderTest] = []
    for told in http.get("Header") or ():
        if (test := _header_test(told)) is not None:
            headers.append(test)
        else:
            reasons.append(f"Header {told.get('Name')}")
    query: dict[str, ValueMatch] = {}
    for told in http.get("QueryParam") or ():
        name, value = str(told.get("Name")), _value(told, ("Exact", "Regex", "Present"))
        # Two tests of one parameter: our match has one.
        if value is None or query.setdefault(name, value) != value:
            reasons.append(f"QueryParam {name}")
    path, regex = _path(http, is_rewritten, reasons, missing)
    if reasons:
        return None, reasons, missing
    try:
        said = {"path": path, "methods": tuple(http.get("Methods") or ()) or None, "query": query}
        plain = Match.model_validate({name: value for name, value in said.items() if value})
    except ValidationError as error:
        return None, [problem["msg"] for problem in error.errors()], missing
    return ChainMatch(plain, regex, tuple(headers)), [], missing


def _path(http: Json, is_rewritten: bool, reasons: list[str], missing: list[str]) -> tuple[PathPattern | None, str]:
    """A pattern, and the expression that says exactly the same as Consul; a rewrite needs the pattern alone."""
    path, regex = None, ""
    for kind in ("PathExact", "PathPrefix"):
        reasons += [f"{kind} {http[kind]}"] if http.get(kind) and not _PATH.fullmatch(http[kind]) else []
    if exact := canonical(http.get("PathExact") or ""):
        path = PathPattern(exact, star=False)
        regex = re.escape(exact) if http.get("CaseInsensitive") else ""
    elif (prefix := canonical(http.get("PathPrefix") or "")) and prefix != "/":
        path = PathPattern(prefix.rstrip("/"), star=True)
        regex = f"{re.escape(prefix)}.*"
        if is_rewritten:
            regex = ""
            missing += [] if prefix.endswith("/") else [f"PathPrefix {prefix} matches whole segments only"]
    elif regex := http.get("PathRegex") or "":
        reasons += [] if is_common(regex) else [f"PathRegex {regex}"]
    if http.get("CaseInsensitive") and (path or regex):
        path, regex = None, f"(?i){regex}"
    if is_rewritten and regex:
        reasons.append("PrefixRewrite of a path that is matched by an expression")
    return path, regex


def _header_test(told: Json) -> HeaderTest | None:
    """None: it cannot be judged."""
    name, invert = str(told.get("Name")).lower(), bool(told.get("Invert"))
    value = _value(told, ("Exact", "Regex", "Prefix", "Suffix", "Present"))
    if value is None:
        return None
    if value.present is not None:
        return HeaderTest(name, ValueMatch(present=not invert))
    return HeaderTest(name, value, invert)


def _value(told: Json, kinds: tuple[str, ...]) -> ValueMatch | None:
    """Where several are given the first of `kinds` counts, as in Consul. None: it cannot be judged."""
    kind = next((kind for kind in kinds if told.get(kind)), None)
    if kind is None:
        return None
    said: dict[str, Any] = {kind.lower(): told[kind]}
    if kind == "Suffix":
        said = {"regex": ".*" + _SPECIAL.sub(r"\\\g<0>", told[kind])}
    try:
        return ValueMatch.model_validate(said)
    except ValidationError:
        return None
