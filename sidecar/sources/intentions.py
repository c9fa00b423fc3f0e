"""Consul's intentions for one service as a source.

`/v1/connect/intentions/match` needs no right but that to read intentions of the service, which `service:write` of it
implies. It blocks, and answers in the order of precedence with the permissions of each intention.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import get_args

from sidecar.config.regex import is_common
from sidecar.consul.client import Answer, ConsulClient
from sidecar.consul.fields import Done, Json, beyond
from sidecar.consul.shape import fields, odd, rows
from sidecar.errors import ConsulError
from sidecar.intentions import ANY, FieldKind, FieldTest, Intention, Intentions, PathKind, Permission

MATCH, CHECK, AGENT = "/v1/connect/intentions/match", "/v1/connect/intentions/check", "/v1/agent/self"
# Seconds between looks at the default policy: it changes with a restart of Consul's servers, and cannot be watched.
DEFAULT_EVERY = 60.0

# What a match says for people, or says again.
_PLAIN: Done = dict.fromkeys(
    ("ID", "Description", "Meta", "CreateIndex", "ModifyIndex", "CreatedAt", "UpdatedAt", "Hash", "Precedence",
     "SourceName", "DestinationName", "Action")
)  # fmt: skip
_OURS = {
    "SourceType": frozenset({"consul"}),
    **dict.fromkeys(
        ("SourceNS", "SourcePartition", "DestinationNS", "DestinationPartition"), frozenset({"default", ANY})
    ),
}
_JWT: Done = {"Providers": {"Name": None, "VerifyClaims": None}}
_PATHS: dict[str, PathKind] = {"PathExact": "exact", "PathPrefix": "prefix", "PathRegex": "regex"}
_TESTS: dict[str, FieldKind] = {kind.capitalize(): kind for kind in get_args(FieldKind)}
_HTTP: Done = {
    **dict.fromkeys((*_PATHS, "Methods")),
    "Header": dict.fromkeys(("Name", "Invert", "IgnoreCase", *_TESTS)),
}
_PERMISSION: Done = {"Action": None, "HTTP": _HTTP, "JWT": _JWT}
_INTENTION: Done = {**_PLAIN, **_OURS, "JWT": _JWT, "Permissions": None}
# A token of RFC 9110 section 5.6.2, in lower case.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")

log = logging.getLogger(__name__)


class IntentionsSource:
    """Who may call `service`."""

    def __init__(self, client: ConsulClient, service: str) -> None:
        self._client = client
        self._service = service
        self._default_allow = False
        # Why the default policy is taken for deny, said once.
        self._guessed = ""

    async def watch(self) -> AsyncGenerator[Intentions, None]:
        """What holds now, and again after each change of it."""
        last: Intentions | None = None
        changes = self._client.watch(MATCH, {"by": "destination", "name": self._service})
        async with aclosing(changes):
            answer = await anext(changes)
            coming = asyncio.ensure_future(anext(changes))
            try:
                while True:
                    try:
                        said = await self._read(answer)
                    except ConsulError as error:
                        log.warning("intentions were not read, those known last stay in force: %s", error)
                    else:
                        if said != last:
                            last = said
                            yield said
                    done, _ = await asyncio.wait({coming}, timeout=DEFAULT_EVERY)
                    if done:
                        answer = coming.result()
                        coming = asyncio.ensure_future(anext(changes))
            finally:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def _read(self, answer: Answer) -> Intentions:
        found, missing = read(answer.value, self._service)
        await self._ask_default(found)
        return Intentions(found, self._default_allow, missing)

    async def _ask_default(self, found: tuple[Intention, ...]) -> None:
        """What holds where no intention decides: `default_intention_policy`, else `default_policy` of the ACLs."""
        if not any(intention.source == ANY for intention in found):
            # A caller of whom no intention speaks is what the default decides.
            query = {"source": _nobody(found), "destination": self._service}
            answer = fields((await self._client.get(CHECK, query)).value, CHECK)
            if not isinstance(answer.get("Allowed"), bool):
                raise odd(CHECK, "whether it is allowed")
            self._default_allow = answer["Allowed"]
            return
        try:
            settings = fields((await self._client.get(AGENT)).value, AGENT).get("DebugConfig") or {}
        except ConsulError as error:
            if error.status != 403:
                raise
            # It decides about requests only that no permission takes of an intention that has some.
            self._default_allow = False
            return
        resolver = settings.get("ACLResolverSettings") or {}
        policy = settings.get("DefaultIntentionPolicy") or resolver.get("ACLDefaultPolicy")
        self._default_allow = policy == "allow"


def _nobody(found: tuple[Intention, ...]) -> str:
    """A name that no intention has."""
    names = {intention.source for intention in found}
    name = "nobody"
    while name in names:
        name += "-"
    return name


def read(value: object, service: str) -> tuple[tuple[Intention, ...], tuple[str, ...]]:
    """The intentions of a match, and what of them is not carried out. Raises ConsulError."""
    found: list[Intention] = []
    missing: list[str] = []
    for row in rows(fields(value, MATCH).get(service), MATCH):
        try:
            intention = _intention(row, missing)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise odd(MATCH, f"intentions ({error!r})") from None
        if intention is not None:
            found.append(intention)
    return tuple(found), tuple(missing)


def _intention(row: Json, missing: list[str]) -> Intention | None:
    """None: it is about callers that cannot reach us, such as those of another mesh."""
    action, listed = row.get("Action") or None, row.get("Permissions") or ()
    if action not in ("allow", "deny", None) or (action is None) == (not listed):
        raise ValueError("an intention has an action or permissions")
    bare = Intention(str(row["SourceName"]), str(row["DestinationName"]), int(row["Precedence"]))
    strange = list(beyond(row, _INTENTION))
    missing += [f"{bare}: {path}" for path in strange]
    if any(path.startswith("Source") for path in strange):
        return None
    permissions = [item for number, each in enumerate(listed, 1) for item in _permission(each, bare, number, missing)]
    return Intention(
        bare.source,
        bare.destination,
        bare.precedence,
        # Permissions that are all left out would allow, so nothing is left of it.
        allow=action == "allow" if action else None if permissions else False,
        permissions=tuple(permissions),
        providers=_providers(row),
    )


def _permission(row: Json, bare: Intention, number: int, missing: list[str]) -> Iterator[Permission]:
    """One permission. A part that cannot be judged here makes one that allows allow nothing, and one that denies deny
    whatever its other parts take: never more is allowed than Consul means."""
    allow = {"allow": True, "deny": False}[row["Action"]]
    http = row.get("HTTP") or {}
    strange = list(beyond(row, _PERMISSION))
    paths: list[tuple[PathKind, str]] = [(kind, http[name]) for name, kind in _PATHS.items() if http.get(name)]
    tests = [test for header in http.get("Header") or () for test in _tests(header)]
    strange += [f"PathRegex {text}" for kind, text in paths if kind == "regex" and not is_common(text)]
    strange += [f"Header {test.name}" for test in tests if not _can_test(test)]
    missing += [f"{bare}, permission {number}: {what}" for what in strange]
    if allow and strange:
        return
    paths = [(kind, text) for kind, text in paths if kind != "regex" or is_common(text)]
    yield Permission(
        allow,
        path=paths[0] if paths else None,
        methods=tuple(http.get("Methods") or ()),
        headers=tuple(filter(_can_test, tests)),
        providers=_providers(row),
    )


def _tests(header: Json) -> Iterator[FieldTest]:
    name = str(header["Name"]).lower()
    invert, ignore_case = bool(header.get("Invert")), bool(header.get("IgnoreCase"))
    for field, kind in _TESTS.items():
        if value := header.get(field):
            yield FieldTest(name, kind, "" if kind == "present" else str(value), invert, ignore_case)


def _can_test(test: FieldTest) -> bool:
    """Whether the data plane reads it. The host is no header there, nor are others of HTTP/2 with a colon."""
    is_name = _NAME.fullmatch(test.name) is not None and test.name != "host"
    return is_name and (test.kind != "regex" or is_common(test.value))


def _providers(row: Json) -> tuple[str, ...]:
    """Of a JWT, by which all must be proved."""
    jwt = row.get("JWT")
    return tuple(str(provider["Name"]) for provider in jwt.get("Providers") or ()) if jwt else ()
