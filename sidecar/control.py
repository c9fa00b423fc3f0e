"""Keeps the data plane on what is known: a world becomes a snapshot, endpoints and secrets.

A change is taken whole or not at all. When it is refused, by us or by the data plane, the last good one keeps serving
and `Status.refused` says why.
"""

import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType

from sidecar.admin.status import Status
from sidecar.dataplane import DataPlane
from sidecar.errors import IdentityError, Problem, SeamError, SidecarError
from sidecar.identity.authority import Leaf
from sidecar.identity.key_material import NONE, KeyMaterial, KeyReader
from sidecar.identity.key_sets import KeySets
from sidecar.snapshot import Compiler, Role, credentials, endpoints, endpoints_made_of, key_files, key_sets, watched
from sidecar.snapshot.cluster import MESH_IDENTITY, MESH_TRUST_BUNDLE, tls_mode
from sidecar.telemetry import happened
from sidecar.telemetry.mesh import MeshTrace, new_id
from sidecar.telemetry.otlp import OtlpSettings
from sidecar.wire import control_pb2 as control
from sidecar.wire.snapshot_pb2 import Listener
from sidecar.world import EndpointsUpdate, Instance, Target, Update, World

# The flags that move a sidecar's own listeners; all others have their address from a document.
FLAGS = {"inbound": "--inbound-port", "outbound": "--outbound-port"}

# A world without what no snapshot is made of.
NO_ENDPOINTS: Mapping[Target, tuple[Instance, ...]] = MappingProxyType({})
NO_REFUSALS: Mapping[str, tuple[Problem, ...]] = MappingProxyType({})

log = logging.getLogger(__name__)


class Control:
    """The way of every change into the data plane; called from one thread."""

    def __init__(
        self,
        dataplane: DataPlane,
        status: Status,
        role: Role,
        directory: Path,
        otlp: OtlpSettings,
        want: Callable[[Target, bool], None] = lambda target, mesh: None,
        unwant: Callable[[Target], None] = lambda target: None,
        mesh: MeshTrace | None = None,
        sets: KeySets | None = None,
    ) -> None:
        """`directory` is where relative paths of certificates start; `mesh` tells of what happens here.

        `want` hears of a service whose endpoints are needed, and whether its sidecars are meant; `unwant` of its end.
        `sets`: the keys of issuers of tokens; a sidecar has none.
        """
        self._dataplane = dataplane
        self._status = status
        self._role = role
        self._compiler = Compiler()
        self._otlp = otlp
        self._want, self._unwant = want, unwant
        self._mesh = mesh or MeshTrace("", "")
        # In the mesh's trace: the last change of certificates.
        self._rotation = 0
        # A gateway's certificates and roots: from their files, and in force.
        self._reader = KeyReader(directory)
        self._keys = NONE
        # Of a gateway's consumers, with the keys of issuers, as the data plane was given them.
        self._sets = sets
        self._credentials = b""
        # What the snapshot in force was compiled from.
        self._compiled: object = None
        self._secrets_version = 0
        # Every cluster that was ever asked for and still exists: what its endpoints were made of, and their digest.
        self._endpoints: dict[str, tuple[object, bytes]] = {}
        self._endpoints_version = 0
        # What a source was asked to watch for them.
        self._watched: dict[Target, bool] = {}
        # When a request was last sent to them, by the clock of `in_use`.
        self._used_at: dict[str, float] = {}
        # The clusters whose endpoints come from there.
        self._clusters: dict[Target, list[str]] = {}
        # How often another leaf came.
        self.rotations = 0
        # The listeners that the snapshot in force has: configured address by name.
        self.listeners: Mapping[str, str] = {}

    def start(self, world: World, leaf: Leaf) -> None:
        """Apply the first world. Raises SidecarError: there is no last good one to fall back on."""
        self.leaf = leaf
        self._trust_domain = world.trust_domain
        self._apply(world)

    def update(self, update: Update) -> None:
        """Apply what a source says, or keep the last good world and tell."""
        world = self._status.world.apply(update)
        if not isinstance(update, EndpointsUpdate):
            self.change(world)
            return
        self._status.world = world
        for cluster in self._clusters.get(update.target, ()):
            self._send_endpoints(cluster)

    def change(self, world: World) -> None:
        """Apply the next world, or keep the last good one and tell."""
        self._log_refusals(world)
        try:
            self._apply(world)
        except SidecarError as error:
            self.refuse(str(error))
        else:
            self._status.refused = ""

    def become(self, role: Role) -> None:
        """Apply another role, or keep the last good one and tell."""
        before, self._role = self._role, role
        self._compiled = None
        self.change(self._status.world)
        if self._status.refused:
            self._role = before

    @property
    def chains(self) -> Mapping[str, Sequence[bytes]]:
        """A gateway's own certificates (DER, leaf first), by name."""
        return {name: identity.certificate_chain for name, identity in self._keys.identities.items()}

    @property
    def role(self) -> Role:
        """What we are now."""
        return self._role

    @property
    def world(self) -> World:
        """What is in force."""
        return self._status.world

    def refuse(self, why: str) -> None:
        """A change could not be taken, or not even be read."""
        self._status.refused = why
        self._mesh.tell("config refused", {"sidecar.config.version": self._status.version}, error=why)
        log.error("change refused, the last good configuration keeps serving: %s", why)

    def install(self, leaf: Leaf) -> None:
        """Show this leaf, and trust its roots, from the next handshake on."""
        self.leaf = leaf
        began, self._rotation = self._mesh.now(), new_id()
        self._send_secrets(self._keys)
        told = {"sidecar.certificate.end": leaf.not_after.isoformat()}
        self._mesh.tell("certificate renewed", told, span_id=self._rotation, began=began)
        self.rotations += 1
        log.info("certificate renewed, the new one ends at %s", leaf.not_after.isoformat(timespec="seconds"))

    async def follow_keys(self) -> None:
        """Use what the files hold that documents name from the next handshake on, for ever."""
        await self._reader.follow(self._install_keys)

    def _install_keys(self, keys: KeyMaterial) -> None:
        names = ", ".join(sorted(keys.names()))
        told, before, self._rotation = {"sidecar.files": names}, self._rotation, new_id()
        try:
            self._send_secrets(keys)
        except SeamError as error:
            self._rotation = before
            self._mesh.tell("files refused", told, error=str(error))
            log.error("named files have changed, what they held before keeps serving: %s", error)
            return
        self._mesh.tell("files changed", told, span_id=self._rotation)
        self._keys = keys
        log.info("named files have changed, and serve: %s", names)

    async def follow_key_sets(self) -> None:
        """Verify tokens with the keys that their issuers have now, for ever."""
        if self._sets is not None:
            await self._sets.follow(self.install_key_sets)

    def install_key_sets(self) -> None:
        """Verify tokens with these keys from now on."""
        self._credentials = self._credentials_of(self.world)
        self._send_secrets(self._keys)

    def _credentials_of(self, world: World) -> bytes:
        return credentials(world, self._role, self._sets.sets() if self._sets is not None else ())

    def take(self, events: control.Events) -> None:
        """Act on what the data plane says."""
        for event in events.events:
            match event.WhichOneof("kind"):
                case "cluster_wanted":
                    self.want(event.cluster_wanted.cluster)
                case "panicked":
                    log.error("a connection ended by a fault in the data plane: %s", event.panicked.message)
                case "ejection" | "circuit" | "health":
                    happened.tell(event, self._mesh)
                case "key_wanted" if self._sets is not None:
                    self._sets.refresh(event.key_wanted.key_set)
                case "pressure":
                    happened.press(event, self._mesh, self._status.lacks)
                case "drained" if event.drained.aborted:
                    log.warning("%d requests were cut off at the end of the grace", event.drained.aborted)
        if events.dropped:
            # A wish may be among them: what has no endpoints yet gets them now.
            log.warning("%d events of the data plane were dropped", events.dropped)
            for cluster in self._dataplane.clusters().clusters:
                if cluster.version == 0:
                    self.want(cluster.name)

    def in_use(self, now: float, lately: float) -> frozenset[Target]:
        """What a source watches for clusters to which requests were sent in the last so many seconds.

        `now` is of any clock in seconds.
        """
        self._used_at.update((cluster, now) for cluster in self._dataplane.used() if cluster in self._endpoints)
        used = {cluster for cluster, at in self._used_at.items() if now - at < lately}
        return frozenset(target for target, clusters in self._clusters.items() if not used.isdisjoint(clusters))

    def let_go_unused(self, now: float, idle_after: float) -> None:
        """Have a source watch no more what was not in use for so many seconds; the next request asks for it again.

        What has never been used is as if it had been when this was asked first.
        """
        self._used_at = {cluster: self._used_at.get(cluster, now) for cluster in self._endpoints}
        for cluster in {cluster for clusters in self._clusters.values() for cluster in clusters}:
            if now - self._used_at[cluster] >= idle_after:
                self._let_go(cluster)
        self._watch_all()

    def _let_go(self, cluster: str) -> None:
        self._endpoints_version += 1
        update = control.EndpointsUpdate(cluster=cluster, version=self._endpoints_version, forgotten=True)
        self._dataplane.apply_endpoints(update)
        del self._endpoints[cluster]

    def want(self, cluster: str) -> None:
        """Send this cluster's endpoints as soon as they are known, and again whenever they change."""
        self._endpoints[cluster] = None, b""
        self._watch(cluster)
        self._send_endpoints(cluster)

    def _apply(self, world: World) -> None:
        status = self._status
        keys = self._reader.read(key_files(world, self._role))
        compiled = (
            self._role,
            replace(world, endpoints=NO_ENDPOINTS, idle=NO_ENDPOINTS, doubted=frozenset(), refusals=NO_REFUSALS),
            keys,
        )
        if compiled == self._compiled:
            status.world = world
            return
        if world.trust_domain != self._trust_domain:
            raise IdentityError(
                f"trust_domain changed from {self._trust_domain} to {world.trust_domain}: "
                "identities change with it, so restart every sidecar and gateway of the mesh"
            )
        began = self._mesh.now()
        made = self._compiler.compile(world, self._role, status.version + 1)
        snapshot = made.head
        self._otlp.overlay(snapshot.telemetry)
        span_id = self._mesh.overlay(snapshot.telemetry.tracing)
        for listener in snapshot.listeners:
            if listener.address not in self.listeners.values():
                _check_free(listener)
        if self._sets is not None:
            self._sets.want(key_sets(world, self._role))
        before, self._credentials = self._credentials, self._credentials_of(world)
        # Secrets first, for a snapshot names them; the old ones stay until it has been taken.
        self._send_secrets(keys.beside(self._keys))
        try:
            status.version = self._dataplane.apply(snapshot, made.rest)
        except SeamError:
            self._credentials = before
            if self._sets is not None:
                self._sets.want(key_sets(status.world, self._role))
            self._send_secrets(self._keys)
            raise
        if self._keys.names() - keys.names():
            self._send_secrets(keys)
        self._keys = keys
        self._compiled = compiled
        if self._mesh.is_on:
            told = {"sidecar.config.version": status.version, **_change(status.world, world)}
            self._mesh.tell("config applied", told, span_id=span_id, began=began)
        status.world = world
        self.listeners = {listener.name: listener.address for listener in snapshot.listeners}
        for gone in self._endpoints.keys() - made.clusters:
            del self._endpoints[gone]
        self._watch_all()
        for cluster in self._endpoints:
            self._send_endpoints(cluster)

    def _watch_all(self) -> None:
        """Have a source watch the endpoints that stand in no document, and no others."""
        self._clusters = {}
        for cluster in self._endpoints:
            self._watch(cluster)
        for target in self._watched.keys() - self._clusters:
            del self._watched[target]
            self._unwant(target)

    def _watch(self, cluster: str) -> None:
        for target in watched(self.world, cluster):
            clusters = self._clusters.setdefault(target, [])
            if cluster not in clusters:
                clusters.append(cluster)
            mesh = tls_mode(self.world, self.world.called(target)) != "disabled"
            if self._watched.get(target) != mesh:
                self._watched[target] = mesh
                self._want(target, mesh)

    def _send_secrets(self, keys: KeyMaterial) -> None:
        self._secrets_version += 1
        own = control.Identity(
            name=MESH_IDENTITY, certificate_chain=self.leaf.certificate_chain, private_key=self.leaf.private_key
        )
        bundle = control.TrustBundle(name=MESH_TRUST_BUNDLE, roots=self.leaf.roots, trust_domains=[self._trust_domain])
        self._dataplane.apply_secrets(
            control.Secrets(
                version=self._secrets_version,
                span_id=self._rotation,
                identities=[own, *keys.identities.values()],
                trust_bundles=[bundle, *keys.roots.values()],
                credentials=self._credentials,
                address_lists=keys.lists.values(),
            )
        )

    def _send_endpoints(self, cluster: str) -> None:
        made_of = endpoints_made_of(self._status.world, self._role, cluster)
        sent_of, sent = self._endpoints[cluster]
        if made_of == sent_of:
            return
        # The version is put in when the list is known to differ from the one sent before.
        update = endpoints(self._status.world, self._role, cluster, 0)
        if update is None:
            return
        digest = blake2b(update.SerializeToString(deterministic=True), digest_size=16).digest()
        if digest == sent:
            self._endpoints[cluster] = made_of, sent
            return
        self._endpoints_version += 1
        update.version = self._endpoints_version
        try:
            self._dataplane.apply_endpoints(update)
        except SeamError as error:
            log.error("endpoints of %s refused: %s", cluster, error)
            return
        self._endpoints[cluster] = made_of, digest

    def _log_refusals(self, world: World) -> None:
        before = self._status.world.refusals
        for place, problems in world.refusals.items():
            if before.get(place) != problems:
                self._mesh.tell("document refused", {"sidecar.config.place": place}, error=str(problems[0]))
                log.error("document refused, its last good version keeps serving:\n%s", "\n".join(map(str, problems)))
        for place in before.keys() - world.refusals.keys():
            log.info("%s is good again", place)


def _check_free(listener: Listener) -> None:
    """Raise SeamError when this listener's address cannot be had.

    The data plane binds with SO_REUSEPORT, by which the kernel would let a second process of this user share the port
    without an error and take half of its connections.
    """
    host, _, port = listener.address.rpartition(":")
    address = ip_address(host.strip("[]"))
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Connections in TIME_WAIT are no obstacle, listeners are.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(address), int(port)))
        except OSError as error:
            flag = FLAGS.get(listener.name)
            remedy = f"with {flag} N (0 for a free one)" if flag else f"in {listener.origin.place}"
            raise SeamError(
                f"listener {listener.name} cannot listen on {listener.address}: {error.strerror}; "
                f"stop what uses it, or choose another port {remedy}"
            ) from error


def _change(before: World, after: World) -> dict[str, str | int]:
    """Which documents have changed, and the newest index of those."""
    old, new = ({key: (one.place, one.index, one.text) for key, one in of.documents.items()} for of in (before, after))
    changed = [new.get(key) or old[key] for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    told: dict[str, str | int] = {"sidecar.config.changed": ", ".join(place for place, _, _ in changed)}
    if index := max((index for _, index, _ in changed), default=0):
        told["sidecar.config.index"] = index
    return told
