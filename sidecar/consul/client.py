"""The one Consul client: single calls, and watches, on a bounded number of connections.

The rules of watches (developer.hashicorp.com/consul/api-docs/features/blocking): an answer does not mean a change; an
index that goes backwards is forgotten; an index is never below 1; the loop is limited in its rate; failures back off.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import aiohttp

from sidecar.consul.advice import advice, missing_rule
from sidecar.consul.pace import Backoff, Bucket
from sidecar.consul.settings import Settings
from sidecar.consul.transport import LARGEST_ANSWER, AnswerTooLarge, Params, Seam
from sidecar.errors import ConsulError

if TYPE_CHECKING:
    from consul.base import Response

log = logging.getLogger(__name__)

# An agent takes 200 connections of one client address (limits.http_max_conns_per_client), shared by all sidecars of a
# host. Of our 16, some are kept free of watches, so that a call never waits for one to end. What the watches are:
# documents 2 (gateway 3), certificates 2, registration 1, config entries 1, names 1, checks 1, intentions 1, and
# instances 4 (sidecar.sources.catalog.BLOCKING).
CONNECTIONS = 16
CALLS = 3
# Seconds of one blocking query. A connection that died silently is noticed after it.
WAIT = 60.0
# Consul's bounds: it takes longer ones for 10 minutes.
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 600.0
# Seconds for a call that does not block, and for the answer of one that does once its wait is over.
CALL_WITHIN = 10.0
# A watch asks at most so often; what changes faster is seen in steps of a tenth of a second.
ROUNDS_PER_SECOND, BURST = 10.0, 2.0
# Seconds.
FIRST_BACKOFF, LONGEST_BACKOFF = 0.25, 15.0

Query = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Answer:
    """What Consul said. `value` is decoded JSON; None stands for 404: there is nothing."""

    # Of the resource; 0 when the endpoint has none.
    index: int
    value: Any
    # Seconds since the server that answered heard from its leader; 0 from the leader itself.
    last_contact: float = 0.0
    # The token may not see some of what is there, so an empty list means nothing.
    filtered: bool = False
    # Of the value; equal for equal ones.
    digest: bytes = b""


@dataclass
class Contact:
    """How fresh what we know is. Times are of the client's clock."""

    # When Consul last answered anything; None: never.
    answered: float | None = None
    # When Consul last answered before calls or a watch began to fail, and why they do; None while all is told.
    failing_since: float | None = None
    failure: str = ""
    # Seconds that the answering server was behind its leader.
    behind: float = 0.0

    def stale_seconds(self, now: float) -> float:
        """How old our knowledge may be: 0 while Consul answers."""
        return self.behind if self.failing_since is None else self.behind + now - self.failing_since


class ConsulClient:
    """Calls to one agent. Every failure is a ConsulError that names the address, the path and the next step."""

    def __init__(
        self,
        settings: Settings,
        *,
        connections: int = CONNECTIONS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self.contact = Contact()
        # Watches that fail now: path and reason.
        self.failing: dict[str, str] = {}
        # Paths of which the token may not see everything, with the rule that its policy lacks.
        self.hidden: dict[str, str] = {}
        self._seam = Seam(settings, connections)
        self._watches = asyncio.Semaphore(connections - CALLS)
        self.watches_free = connections - CALLS
        self._calls = 0
        self.clock = clock
        self.sleep = sleep
        self.chance = chance

    async def close(self) -> None:
        """End every connection."""
        await self._seam.http.close()

    @property
    def open_connections(self) -> int:
        """Watches and calls that run now."""
        return self._calls

    async def get(
        self, path: str, query: Query | None = None, *, within: float = CALL_WITHIN, known: bytes = b""
    ) -> Answer:
        """One read of "/v1/kv/sidecar/mesh"; it blocks when `query` has an index and a wait. `within` is in seconds.

        An answer whose digest is `known` comes without its value.
        """
        return await self._call("GET", path, query, within=within, known=known)

    async def put(self, path: str, body: object = None, query: Query | None = None) -> Any:
        """One write; `body` is sent as it is when it is bytes, else as JSON. Returns the decoded answer."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return (await self._call("PUT", path, query, data=data)).value

    async def delete(self, path: str, query: Query | None = None) -> Any:
        """One removal."""
        return (await self._call("DELETE", path, query)).value

    async def txn(self, body: bytes) -> list[str]:
        """Apply a list of operations (JSON) whole or not at all; returns what had changed, [] when it was applied."""
        answer = await self._call("PUT", "/v1/txn", None, data=body, accepted=(409,))
        reasons = [str(error.get("What", error)) for error in answer.value.get("Errors") or ()]
        # A transaction answers missing rights as it answers a conflict.
        if denied := next((reason for reason in reasons if "Permission denied" in reason), ""):
            step = advice(403, denied, "PUT", "/v1/txn")
            raise ConsulError(f"Consul at {self.settings.address} refused PUT /v1/txn: {denied}{step}", 403)
        return reasons

    async def watch(
        self, path: str, query: Query | None = None, *, wait: float = WAIT, every_index: bool = False
    ) -> AsyncGenerator[Answer, None]:
        """The value now, and again whenever it has changed, for ever. Failures are logged and tried again.

        `every_index`: again whenever the index has moved, then without a value where that is as before.
        Holds one of the client's connections to its end: close it (`aclosing`).
        """
        wait = min(max(wait, SHORTEST_WAIT), LONGEST_WAIT)
        # Consul adds up to a sixteenth, so that watches do not wake together.
        within = wait + wait / 16 + CALL_WITHIN
        rounds = Bucket(ROUNDS_PER_SECOND, BURST)
        backoff = Backoff(FIRST_BACKOFF, LONGEST_BACKOFF)
        index, last = 0, b""
        async with self._watch_slot(path):
            while True:
                if pause := rounds.take(self.clock()):
                    await self.sleep(pause)
                blocking: Query = {"index": index, "wait": f"{wait:g}s"} if index else {}
                try:
                    answer = await self._call("GET", path, {**(query or {}), **blocking}, within=within, known=last)
                except ConsulError as error:
                    if str(error) != self.failing.get(path):
                        self.failing[path] = str(error)
                        log.warning("%s; what was known last stays in force", error)
                    # Whatever the reason, a token that was revoked too: it tells us nothing new.
                    self._lost_contact(error)
                    # Without one the next answer comes at once, and tells that we are in contact again.
                    index = 0
                    await self.sleep(backoff.after_failure(self.chance()))
                    continue
                if self.failing.pop(path, ""):
                    log.info("Consul at %s answers %s again", self.settings.address, path)
                    self._answered(answer)
                backoff.reset()
                # Backwards: a server was restored, or another one answered; what changed since is not known then.
                told = max(1, answer.index)
                moved = told != index
                index = 0 if told < index else told
                if answer.digest != last or (every_index and moved):
                    last = answer.digest
                    yield answer

    @asynccontextmanager
    async def _watch_slot(self, path: str) -> AsyncGenerator[None, None]:
        if self._watches.locked():
            raise RuntimeError(f"no connection is left to watch {path}: {CONNECTIONS - CALLS} watches are open")
        async with self._watches:
            self.watches_free -= 1
            try:
                yield
            finally:
                self.watches_free += 1
                self.failing.pop(path, None)

    async def _call(
        self,
        method: str,
        path: str,
        query: Query | None,
        *,
        data: bytes | None = None,
        within: float = CALL_WITHIN,
        accepted: Sequence[int] = (),
        known: bytes = b"",
    ) -> Answer:
        """One exchange. Statuses beside 200 and 404 are errors unless `accepted`; a `known` digest is not decoded."""
        options: dict[str, Any] = {"headers": self._headers(), "connections_timeout": within}
        if data is not None:
            options["data"] = data
        where = f"Consul at {self.settings.address}"
        self._calls += 1
        try:
            response = await getattr(self._seam.http, method.lower())(
                lambda response: response, path, self._params(query), **options
            )
            answer = _answer(response, method, where, path, accepted, known)
        except TimeoutError:
            error = ConsulError(f"{where} did not answer {method} {path} within {within:g} s")
        except AnswerTooLarge:
            error = ConsulError(f"{where} answered {path} with more than {LARGEST_ANSWER >> 20} MiB")
        except aiohttp.ClientConnectorError as failure:
            error = ConsulError(
                f"{where} cannot be reached ({_reason(failure)}); "
                "start an agent there, or name another one with CONSUL_HTTP_ADDR"
            )
        except aiohttp.ClientError as failure:
            error = ConsulError(
                f"{where} broke off its answer to {method} {path}: {str(failure) or type(failure).__name__}"
            )
        except ConsulError as refused:
            error = refused
        else:
            self._answered(answer)
            self._tell_hidden(method, path, answer.filtered)
            return answer
        finally:
            self._calls -= 1
        self._failed(error)
        raise error

    def _tell_hidden(self, method: str, path: str, filtered: bool) -> None:
        if not filtered:
            self.hidden.pop(path, None)
        elif path not in self.hidden:
            self.hidden[path] = rule = missing_rule(method, path)
            where = self.settings.address
            log.warning("Consul at %s hides a part of %s from this token; its policy lacks %s", where, path, rule)

    def _headers(self) -> dict[str, str]:
        token = self.settings.current_token()
        return {"X-Consul-Token": token} if token else {}

    def _params(self, query: Query | None) -> Params:
        settings = self.settings
        place = {"ns": settings.namespace, "partition": settings.partition}
        return [*((query or {}).items()), *((name, value) for name, value in place.items() if value)]

    def _answered(self, answer: Answer) -> None:
        contact = self.contact
        contact.answered, contact.behind = self.clock(), answer.last_contact
        if not self.failing:
            contact.failing_since, contact.failure = None, ""

    def _failed(self, error: ConsulError) -> None:
        if 400 <= error.status < 500 and error.status != 429:
            # It answered, and will answer the same again: the call is at fault, not the contact.
            return
        self._lost_contact(error)

    def _lost_contact(self, error: ConsulError) -> None:
        contact = self.contact
        contact.failure = str(error)
        if contact.failing_since is None:
            contact.failing_since = self.clock() if contact.answered is None else contact.answered


def _answer(
    response: Response, method: str, where: str, path: str, accepted: Sequence[int], known: bytes = b""
) -> Answer:
    status, headers, body = response
    # What is read may not be there; what is written to must be.
    if status not in (200, *accepted) and not (status == 404 and method == "GET"):
        said = body[:300].decode(errors="replace").strip()
        step = advice(status, said, method, path)
        raise ConsulError(f"{where} refused {method} {path} with {status}: {said}{step}", status)
    digest = blake2b(body if status != 404 else b"404", digest_size=16).digest()
    try:
        value = json.loads(body) if body and status != 404 and digest != known else None
        index = int(headers.get("X-Consul-Index", 0))
        behind = int(headers.get("X-Consul-LastContact", 0)) / 1000
    except ValueError as error:
        raise ConsulError(f"{where} answered {method} {path} with something that is not its API: {error}") from None
    filtered = headers.get("X-Consul-Results-Filtered-By-ACLs") == "true"
    return Answer(index, value, behind, filtered, digest)


def _reason(failure: aiohttp.ClientConnectorError) -> str:
    if isinstance(failure, aiohttp.ClientConnectorCertificateError):
        return str(failure.certificate_error)
    return failure.os_error.strerror or str(failure.os_error)
