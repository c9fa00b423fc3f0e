"""What the admin API answers, as plain JSON values. No view holds a key, a header value or a certificate."""

from datetime import UTC, datetime
from typing import Any

from sidecar.admin.status import Status
from sidecar.errors import Problem
from sidecar.wire import control_pb2 as control
from sidecar.wire import snapshot_pb2 as snapshot
from sidecar.world import World

Json = dict[str, Any]


def ready(status: Status) -> Json:
    """Whether requests should be sent here, and what a person should know beside it."""
    answer: Json = {"ready": status.state == "ready", "state": status.state, "role": status.role, "name": status.name}
    if status.state == "starting":
        answer["waiting_for"] = status.waiting_for
    answer["config_version"] = status.version
    if status.refused:
        answer["refused"] = status.refused
    if status.world.refusals:
        answer["refusals"] = _refusals(status.world)
    return {**answer, **status.details()}


def config(status: Status) -> Json:
    """The documents in force with the fields that were written, and what was refused."""
    return {
        "role": status.role,
        "name": status.name,
        "version": status.version,
        "documents": [
            {
                "kind": key.kind,
                "name": key.name,
                "place": document.place,
                "fields": document.model.model_dump(mode="json", by_alias=True, exclude_unset=True),
            }
            for key, document in sorted(status.world.documents.items())
        ],
        "refused": status.refused,
        "refusals": _refusals(status.world),
        # What Consul's config entries ask for and this version does not do.
        "not_carried_out": list(status.world.not_carried_out),
    }


def clusters(state: control.Clusters) -> Json:
    """Every cluster with its endpoints; version 0 = no endpoint list has arrived yet."""
    return {"clusters": [_cluster(cluster) for cluster in state.clusters]}


def listeners(state: control.Listeners) -> Json:
    """The listeners that are bound."""
    return {"listeners": [{"name": listener.name, "address": listener.address} for listener in state.listeners]}


def exchanges(name: str, state: control.Exchanges) -> Json:
    """Exchanges, each explained, under this name."""
    return {name: [_exchange(exchange) for exchange in state.exchanges]}


def _refusals(world: World) -> list[Json]:
    return [_problem(problem) for _, problems in sorted(world.refusals.items()) for problem in problems]


def _problem(problem: Problem) -> Json:
    return {
        "place": problem.place,
        "message": problem.message,
        "expected": problem.expected,
        "hint": problem.hint,
        "snippet": problem.snippet,
        "index": problem.index,
    }


def _cluster(cluster: control.ClusterState) -> Json:
    return {
        "name": cluster.name,
        "version": cluster.version,
        "requests_active": cluster.requests_active,
        "requests_pending": cluster.requests_pending,
        "connections_active": cluster.connections_active,
        "retries_active": cluster.retries_active,
        # Until one request finds out whether it is well again; null: the circuit is closed.
        "open_ms": cluster.open_ms if cluster.HasField("open_ms") else None,
        "limits": _limits(cluster.limits),
        "endpoints": [
            {
                "id": endpoint.id,
                "address": endpoint.address,
                "healthy": endpoint.healthy,
                # What its health checks found; null: nothing yet, or there are none.
                "check": (
                    {"well": endpoint.check.well, "error": endpoint.check.error} if endpoint.HasField("check") else None
                ),
                # How long it is ejected for yet; null: it is not.
                "ejected_ms": endpoint.ejected_ms if endpoint.HasField("ejected_ms") else None,
                "weight": endpoint.weight,
                "requests_active": endpoint.requests_active,
                "requests_pending": endpoint.requests_pending,
                "requests_total": endpoint.requests_total,
                "failures_total": endpoint.failures_total,
                "overloads_total": endpoint.overloads_total,
                "priority": endpoint.priority,
                "connections_active": endpoint.connections_active,
                "retries_active": endpoint.retries_active,
            }
            for endpoint in cluster.endpoints
        ],
    }


def _limits(limits: snapshot.ClusterLimits) -> Json:
    """Of what is active and pending; null: there is none."""
    own = limits.per_endpoint
    return {
        "max_requests": limits.max_requests or None,
        "max_pending": limits.max_pending or None,
        "max_connections": limits.max_connections or None,
        "max_retries": limits.max_retries or None,
        "per_endpoint": {
            "max_requests": own.max_requests or None,
            "max_pending": own.max_pending or None,
            "max_connections": own.max_connections or None,
            "max_retries": own.max_retries or None,
        },
    }


def _exchange(exchange: control.Exchange) -> Json:
    return {
        "time": datetime.fromtimestamp(exchange.unix_nanos / 1e9, UTC).isoformat(timespec="milliseconds"),
        "unix_nanos": exchange.unix_nanos,
        "request_id": exchange.request_id,
        "trace_id": exchange.trace_id,
        # "": no span is made; "": the trace begins here.
        "span_id": exchange.span_id,
        "parent_id": exchange.parent_id,
        "direction": exchange.direction,
        "listener": exchange.listener,
        # True: a connection whose bytes were passed on as they are; it has no method, path and status.
        "tcp": exchange.tcp,
        "method": exchange.method,
        "authority": exchange.authority,
        "path": exchange.path,
        "client": exchange.client,
        "peer": exchange.peer,
        # 0: the caller got no answer.
        "status": exchange.status,
        "grpc_status": exchange.grpc_status,
        # "": the proxy did what it was asked for.
        "reason": exchange.reason,
        "detail": exchange.detail,
        "next": exchange.next,
        "rule": exchange.rule,
        # Where it is written what the outcome hangs on; the index is that of Consul's key.
        "origin": exchange.origin,
        "origin_index": exchange.origin_index or None,
        # What a proxy of the mesh behind this one said of the answer that it made.
        "told": {"reason": exchange.told, "detail": exchange.told_detail, "next": exchange.told_next}
        if exchange.told
        else None,
        "route": exchange.route,
        "cluster": exchange.cluster,
        "attempts": [_attempt(attempt) for attempt in exchange.attempts],
        "candidates": {
            "total": exchange.candidates_total,
            "healthy": exchange.candidates_healthy,
            "ejected": exchange.candidates_ejected,
            "ill": exchange.candidates_ill,
            "priority": exchange.candidates_priority,
            "panic": exchange.candidates_panic,
        },
        "received": exchange.received,
        "sent": exchange.sent,
        "ms": exchange.duration_us / 1000,
    }


def _attempt(attempt: control.Attempt) -> Json:
    return {
        "endpoint": attempt.endpoint,
        "address": attempt.address,
        "peer": attempt.peer,
        "span_id": attempt.span_id,
        "why": attempt.why,
        "status": attempt.status,
        "grpc_status": attempt.grpc_status,
        # Since the start of the exchange.
        "at_ms": attempt.started_us / 1000,
        "ms": attempt.duration_us / 1000,
    }
