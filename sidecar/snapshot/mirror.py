"""Mirrors: who gets copies of a service's requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sidecar.snapshot import tcp
from sidecar.snapshot.units import millionths
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import Target, World


def with_mirrors(world: World, names: Iterable[str]) -> tuple[str, ...]:
    """These services, and those that get copies of their requests."""
    named = dict.fromkeys(names)
    for name in tuple(named):
        mirror = world.written(name).mirror
        if mirror is not None and mirror.to.service is not None:
            named[mirror.to.service] = None
    return tuple(named)


def mirrored(world: World, routes: Iterable[wire.Route]) -> Iterator[wire.Route]:
    """The routes, each with the mirror of the service that it leads to; of several the first decides."""
    for route in routes:
        if route.destinations:
            called = world.called(Target.of(route.destinations[0].cluster))
            if (mirror := _mirror(world, called)) is not None:
                route.mirror.CopyFrom(mirror)
        yield route


def _mirror(world: World, name: str) -> wire.Mirror | None:
    mirror = world.written(name).mirror
    if mirror is None:
        return None
    to = Target(mirror.to.service or name, mirror.to.subset or "")
    service = world.service(to.service)
    if not service.enabled or tcp.is_tcp(service):
        return None
    return wire.Mirror(cluster=to.cluster, share=max(1, millionths(mirror.share)))
