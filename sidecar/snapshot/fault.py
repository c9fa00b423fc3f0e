"""Faults on purpose."""

from __future__ import annotations

from sidecar.config.model.fault import Fault
from sidecar.config.model.traffic import GRPC_STATUSES
from sidecar.snapshot.scope import Scope
from sidecar.snapshot.units import millionths, milliseconds
from sidecar.wire import snapshot_pb2 as wire


def fault_of(fault: Fault | None) -> wire.Fault | None:
    """As the wire has it; None: nothing is done."""
    if fault is None:
        return None
    (narrowed,) = Scope().narrowed(fault.match)
    made = wire.Fault(match=narrowed.match, by_header=fault.by_header)
    if fault.delay is not None:
        made.delay_ms, made.delay_share = milliseconds(fault.delay.time), millionths(fault.delay.share)
    if fault.abort is not None:
        made.abort_status, made.abort_call = fault.abort.status, GRPC_STATUSES[fault.abort.grpc]
        made.abort_share = millionths(fault.abort.share)
    if fault.reset is not None:
        made.reset_share = millionths(fault.reset.share)
    return made
