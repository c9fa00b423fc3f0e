"""Consul as the engine: documents from its KV, endpoints from its catalog, certificates from its Connect CA.

What it told last is kept on disk. A start without Consul serves that, and says so until Consul is back; a Consul that
stops while we run takes nothing away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sidecar.consul.client import ConsulClient
from sidecar.control import Control
from sidecar.engine import Beginning
from sidecar.engine.last_good import LastGood, Store
from sidecar.engine.patience import waited
from sidecar.engine.presence import Presence
from sidecar.engine.stream import Stream
from sidecar.errors import ConsulError
from sidecar.identity.authority import Authority, Leaf
from sidecar.identity.choice import CONSUL, Choice, authority
from sidecar.identity.consul_connect import ConsulConnect
from sidecar.snapshot import GatewayRole, Role, SidecarRole
from sidecar.sources.catalog import Catalog
from sidecar.sources.discovery_chain import DiscoveryChains
from sidecar.sources.intentions import IntentionsSource
from sidecar.sources.kv import KvSource
from sidecar.sources.kv_status import StatusKey, content
from sidecar.telemetry.families import Family
from sidecar.world import Target, Update, World

# Seconds that Consul gets at the start when a last good world is at hand, and when there is none. An agent on this host
# answers in milliseconds; one that is late is followed as soon as it has answered.
ANSWER_WITHIN_WITH_LAST_GOOD, ANSWER_WITHIN = 0.3, 15.0
# Seconds between tries to reach an agent that is not there yet.
REACH_AGAIN_AFTER = 0.25
# Seconds between deregistration and the end of accepting: callers hear of it through Consul in less.
LEAD = 0.3
# Seconds between looks at which services are in use, where some take turns: one that comes into use does so no longer.
# After its last request it is in use for so many seconds, so that a call now and then keeps its place.
LOOK_EVERY, IN_USE = 0.1, 10.0
# Seconds between reviews of what is watched, and without a request until a service is not watched any more.
REVIEW_EVERY, IDLE_AFTER = 2.0, 300.0
# HTTP's.
TOO_MANY_REQUESTS = 429

log = logging.getLogger(__name__)

T = TypeVar("T")


class ConsulEngine:
    """One agent's mesh."""

    def __init__(
        self,
        client: ConsulClient,
        presence: Presence,
        state_directory: Path,
        choice: Choice = CONSUL,
        answer_within: float = ANSWER_WITHIN,
    ) -> None:
        # Documents in KV have no directory: relative paths in them are meant from where we were started.
        self.directory = Path.cwd()
        self._choice = choice
        self._state_directory = state_directory
        self._client = client
        self._presence = presence
        self._store = Store(state_directory, presence.file_name)
        self._answer_within = answer_within
        # What Consul tells, once it is asked.
        self._identity: Identity | None = None
        self._leaf: Leaf | None = None
        self._documents: KvSource | None = None
        self._entries: DiscoveryChains | None = None
        self._catalog: Catalog | None = None
        self._status_key: StatusKey | None = None
        self._service = ""
        self._updates: tuple[Stream[Update], ...] = ()
        # Until when what we serve was true, while it comes from disk; None once Consul has told all of it.
        self._from_disk: datetime | None = None

    # --- begin ----------------------------------------------------------------------------------------------------

    async def begin(self) -> Beginning:
        """From Consul, or from disk when it does not answer in time. Raises ConsulError with the next step."""
        last_good = await asyncio.to_thread(self._store.load)
        within = self._answer_within if last_good is None else ANSWER_WITHIN_WITH_LAST_GOOD
        try:
            if last_good is None:
                return await waited(self._begin_with_consul(patient=True), within)
            async with asyncio.timeout(within):
                return await self._begin_with_consul(patient=False)
        except TimeoutError:
            failure = self._client.contact.failure
            lacks = "".join(f"; the token's policy lacks {rule}" for rule in sorted(set(self._client.hidden.values())))
            silent = f"Consul at {self._client.settings.address} did not tell all in {within:g} s"
            why = ConsulError(f"{failure or silent}{lacks}")
        except ConsulError as error:
            why = error
        if last_good is None:
            raise why
        return self._begin_from_disk(last_good, why)

    async def _begin_with_consul(self, *, patient: bool) -> Beginning:
        role = await self._reach(self._presence.find, patient=patient)
        await self._reach(lambda: self._try_leaf(role), patient=patient)
        identity = self._ask_identity(role)
        leaf = await identity.leaves.peek()
        world = identity.on_site(World())
        told = self._ask_updates(role, world)
        for stream in told:
            world = world.apply(await stream.peek())
        identity.leaves.take()
        for stream in told:
            stream.take()
        self._keep(world)
        self._store.keep_leaf(leaf)
        self._show(leaf)
        return Beginning(role, world, leaf, identity.authority)

    async def _reach(self, call: Callable[[], Awaitable[T]], *, patient: bool) -> T:
        """The call's result; if `patient` it is tried again while the agent is not there or not ready."""
        told = ""
        while True:
            try:
                return await call()
            except ConsulError as error:
                # The agent will answer the same again.
                is_final = 400 <= error.status < 500 and error.status != TOO_MANY_REQUESTS
                if is_final or not patient:
                    raise
                if str(error) != told:
                    told = str(error)
                    log.warning("%s; waiting up to %g s for it", told, self._answer_within)
                await asyncio.sleep(REACH_AGAIN_AFTER)

    async def _try_leaf(self, role: Role) -> None:
        """Tell early, and why, when this agent gives us no certificate; the watch of it would try for ever."""
        if self._choice.kind == "consul":
            await self._client.get(f"/v1/agent/connect/ca/leaf/{_service(role)}")

    def _begin_from_disk(self, last_good: LastGood, why: ConsulError) -> Beginning:
        leaf = last_good.leaf
        if leaf.not_after <= datetime.now(UTC):
            ended = f"{leaf.not_after:%Y-%m-%d %H:%M} UTC"
            raise ConsulError(f"{why} (the certificate on disk ended at {ended}, so no peer would trust us)") from why
        self._show(leaf)
        role = self._presence.restore(last_good.presence)
        self._from_disk = last_good.true_at
        log.error("%s; serving what it told until %s", why, last_good.true_at.isoformat(timespec="seconds"))
        identity = self._ask_identity(role)
        self._ask_updates(role, last_good.world)
        return Beginning(role, last_good.world, leaf, identity.authority)

    def _ask_identity(self, role: Role) -> Identity:
        if self._identity is None:
            chosen = (
                ConsulConnect(self._client, _service(role))
                if self._choice.kind == "consul"
                else authority(self._choice, _service(role), "", self._state_directory)
            )
            self._identity = Identity(chosen)
        return self._identity

    def _ask_updates(self, role: Role, world: World) -> tuple[Stream[Update], ...]:
        if self._catalog is None:
            self._catalog = Catalog(self._client, world.datacenter, known=world.endpoints)
            self._service = _service(role)
            self._documents = KvSource(self._client, gateway=isinstance(role, GatewayRole))
            self._entries = DiscoveryChains(self._client)
            # Who calls a gateway is not of the mesh, so intentions name it as a source alone.
            own = (IntentionsSource(self._client, self._service),) if isinstance(role, SidecarRole) else ()
            sources = (self._documents, self._entries, self._catalog, *own)
            self._updates = tuple(Stream(source.watch()) for source in sources)
        return self._updates

    # --- run ------------------------------------------------------------------------------------------------------

    def loops(self, control: Control) -> Sequence[Coroutine[Any, Any, None]]:
        return (
            *(self._follow(stream, control) for stream in self._updates),
            *([self._follow_leaves(self._identity, control)] if self._identity else []),
            *self._presence.loops(control, lambda: self._keep(control.world)),
            self._store.run(lambda: self.stale_seconds() == 0),
            self._follow_use(control),
            *self._tell_status(control),
        )

    def _tell_status(self, control: Control) -> Sequence[Coroutine[Any, Any, None]]:
        documents = self._documents
        if documents is None:
            return ()
        self._status_key = StatusKey(
            self._client,
            self._service,
            self._presence.file_name,
            lambda: content(control.world, documents.index, self._held()) if documents.has_services else b"",
        )
        return (self._status_key.run(),)

    async def _follow(self, stream: Stream[Update], control: Control) -> None:
        async for update in stream:
            control.update(update)
            self._keep(control.world)
            if self._from_disk is not None and all(other.taken for other in self._updates):
                log.info("Consul is back and has told all that is served")
                self._from_disk = None

    async def _follow_use(self, control: Control) -> None:
        """Have the services that are in use be the freshest, and let go of those that nobody calls any more."""
        clock = self._client.clock
        review_at = clock() + REVIEW_EVERY
        while True:
            take_turns = self._catalog is not None and self._catalog.watched["turns"]
            await asyncio.sleep(LOOK_EVERY if take_turns else REVIEW_EVERY)
            used = control.in_use(clock(), IN_USE)
            if self._catalog is not None:
                self._catalog.favour(used)
            if clock() >= review_at:
                # While Consul is away nothing is let go: it could not be told again.
                control.let_go_unused(clock(), IDLE_AFTER if self.stale_seconds() == 0 else float("inf"))
                review_at = clock() + REVIEW_EVERY

    async def _follow_leaves(self, identity: Identity, control: Control) -> None:
        async for leaf in identity.leaves:
            control.change(identity.on_site(control.world))
            control.install(leaf)
            self._show(leaf)
            self._store.keep_leaf(leaf)

    def want(self, target: Target, mesh: bool) -> None:
        """Watch its endpoints."""
        if self._catalog is not None:
            self._catalog.want(target, mesh=mesh)

    def unwant(self, target: Target) -> None:
        """Stop watching them."""
        if self._catalog is not None:
            self._catalog.unwant(target)

    async def announce(self, listeners: Mapping[str, str], admin: str) -> None:
        """Have the mesh send requests."""
        await self._presence.announce(listeners, admin)

    async def withdraw(self) -> None:
        """Deregister, and let callers hear of it before the listeners close."""
        if await self._presence.withdraw():
            await asyncio.sleep(LEAD)

    async def close(self) -> None:
        """Write what waits, and end every connection."""
        for stream in self._updates:
            await stream.close()
        if self._identity is not None:
            await self._identity.leaves.close()
        await self._store.flush()
        if self._status_key is not None:
            await self._status_key.remove()
        await self._client.close()

    def _show(self, leaf: Leaf) -> None:
        """This leaf is the one in force from now on."""
        self._leaf = leaf
        if why := leaf.untimely(datetime.now(UTC)):
            log.error("%s", why)

    def _keep(self, world: World) -> None:
        self._store.keep(self._presence.saved(), world)

    # --- for people -----------------------------------------------------------------------------------------------

    def stale_seconds(self) -> float:
        """How old what we serve may be; 0 while Consul answers."""
        if self._from_disk is not None:
            return max(0.0, (datetime.now(UTC) - self._from_disk).total_seconds())
        return self._client.contact.stale_seconds(self._client.clock())

    def details(self) -> Mapping[str, object]:
        """The contact with Consul and our registration, for `/ready`."""
        contact = self._client.contact
        failure = {"consul_failure": contact.failure} if contact.failing_since is not None else {}
        untimely = self._leaf.untimely(datetime.now(UTC)) if self._leaf else ""
        return {
            "consul": self._client.settings.address,
            **({"certificate": untimely} if untimely else {}),
            "stale_seconds": round(self.stale_seconds(), 1),
            **failure,
            **({"held": held} if (held := self._held()) else {}),
            **({"status_key": key.failure} if (key := self._status_key) and key.failure else {}),
            **({"missing_rights": sorted(set(hidden.values()))} if (hidden := self._client.hidden) else {}),
            **self._presence.details(),
        }

    def _held(self) -> list[str]:
        """What Consul no longer tells and still serves, because its answer is doubted."""
        documents = self._documents.held.values() if self._documents else ()
        entries = [self._entries.held] if self._entries and self._entries.held else ()
        instances = self._catalog.held.values() if self._catalog else ()
        return sorted([*documents, *entries, *instances])

    def _watched(self) -> Mapping[str, int]:
        return self._catalog.watched if self._catalog else {}

    def families(self) -> Sequence[Family]:
        return (
            Family(
                "sidecar.consul.stale_seconds",
                "gauge",
                "How old what Consul told may be; 0 while it answers.",
                lambda: {(): self.stale_seconds()},
            ),
            Family(
                "sidecar.consul.watched_services",
                "gauge",
                "Services whose endpoints are followed: by blocking queries, and by cached ones in turns.",
                lambda: {(("by", how),): count for how, count in self._watched().items()},
            ),
            Family(
                "sidecar.consul.connections",
                "gauge",
                "Watches and calls to the agent that are open now; at most 16.",
                lambda: {(): self._client.open_connections},
            ),
            Family(
                "sidecar.consul.held",
                "gauge",
                "Answers of Consul that are doubted now: what they would take away serves on.",
                lambda: {(): len(self._held())},
            ),
        )


class Identity:
    """Our leaf as a stream, and where it says that we are."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.leaves: Stream[Leaf] = Stream(authority.watch())

    def on_site(self, world: World) -> World:
        """The world with the trust domain and the datacenter of the newest leaf."""
        site = self.authority.site
        return world if site is None or site == world.site else world.apply(site)


def _service(role: Role) -> str:
    """The service that we are in the mesh; a gateway is one, too."""
    return role.name if isinstance(role, GatewayRole) else role.service
