"""What the data plane says has happened to those that it calls: a line in the log, and a span in the mesh's trace."""

import logging

from sidecar.telemetry.mesh import MeshTrace
from sidecar.wire import control_pb2 as control

log = logging.getLogger(__name__)

# What is done without at each step; nothing at the first.
STEPS = {
    "brief": "clients' connections end behind the request that they are at",
    "sparing": "requests whose Priority says that they can wait are refused",
    "full": "all requests are refused, no connection is accepted, and what is sent and not taken is broken off",
}


def press(event: control.Event, mesh: MeshTrace, missing: dict[str, str]) -> None:
    """Say what is done without since memory or descriptors have become fewer, or that there are enough again.

    `missing` holds what is done without, by resource.
    """
    lacks, step = event.pressure.resource, event.pressure.step
    without = STEPS.get(step, "")
    if without:
        missing[lacks] = without
        log.warning("the process runs out of %s: %s", lacks, without)
    else:
        missing.pop(lacks, None)
        log.info("there is enough of %s again", lacks)
    mesh.tell("pressure", {"sidecar.resource": lacks, "sidecar.step": step}, ended=event.unix_nanos, error=without)


def tell(event: control.Event, mesh: MeshTrace) -> None:
    """Say what an ejection, a circuit or a health check has changed."""
    match event.WhichOneof("kind"):
        case "ejection":
            told = event.ejection
            who = f"{told.address} of {told.cluster}"
            about = {"sidecar.cluster": told.cluster, "sidecar.endpoint": told.address}
            name, span_id = ("ejection" if told.cause else "ejection over"), told.span_id
            cause, gone = told.cause, f"gets no requests for {told.ejected_ms / 1000:g} s"
        case "circuit":
            circuit = event.circuit
            who, about = circuit.cluster, {"sidecar.cluster": circuit.cluster}
            name, span_id = ("circuit opened" if circuit.cause else "circuit closed"), circuit.span_id
            cause, gone = circuit.cause, f"gets no requests for {circuit.open_ms / 1000:g} s"
        case "health":
            health = event.health
            who = f"{health.address} of {health.cluster}"
            about = {"sidecar.cluster": health.cluster, "sidecar.endpoint": health.address}
            name, span_id = ("health check failed" if health.cause else "health check passed"), 0
            cause, gone = health.cause, "fails its health check, and gets no requests"
        case _:
            return
    if cause:
        log.warning("%s %s: %s", who, gone, cause)
    else:
        well = "answers its health check" if event.HasField("health") else "is well again"
        log.info("%s %s, and gets requests", who, well)
    mesh.tell(name, about, span_id=span_id, ended=event.unix_nanos, error=cause)
