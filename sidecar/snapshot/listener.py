"""What a listener's documents say, as the data plane has it."""

from __future__ import annotations

from sidecar.config.model.limits import Limits
from sidecar.snapshot.cluster import milliseconds
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import World

# Of a listener that no document speaks of.
_NONE = Limits()


def inbound_limits(world: World, service: str) -> wire.ListenerLimits:
    """Of the callers of a service: as its document says, the mesh's, or config entries."""
    local = world.chain(service).local
    told = {"max_connections": local.max_connections, "max_header_bytes": local.max_header_bytes}
    entries = _NONE.model_copy(update={name: value for name, value in told.items() if value is not None})
    return _wire(world.service(service).limits.over(world.mesh.limits).over(entries))


def limits(world: World, own: Limits = _NONE) -> wire.ListenerLimits:
    """A listener's own limits over the mesh's."""
    return _wire(own.over(world.mesh.limits))


def _wire(held: Limits) -> wire.ListenerLimits:
    return wire.ListenerLimits(
        max_headers=held.max_headers,
        max_header_bytes=held.max_header_bytes,
        max_request_line=held.max_request_line,
        max_streams=held.max_streams,
        max_connections=held.max_connections,
        header_timeout_ms=milliseconds(held.header_timeout),
        body_timeout_ms=milliseconds(held.body_timeout),
        idle_timeout_ms=milliseconds(held.idle_timeout),
        max_connection_age_ms=milliseconds(held.max_connection_age),
        keepalive_interval_ms=milliseconds(held.keepalive_interval),
        keepalive_timeout_ms=milliseconds(held.keepalive_timeout),
    )
