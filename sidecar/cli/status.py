"""`sidecar status`: the sidecars and gateways of this host, as they say themselves."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sidecar.cli import instances

if TYPE_CHECKING:
    from sidecar.rundir import Instance

HELP = """
Tell how the sidecars and gateways of this host are.

Each line of trouble says what to do. Ends with 0 when all is well, with 3 when something is not.

Examples:

\b
  sidecar status
  sidecar status -o json
"""


def status(output: instances.Form = instances.Output.TEXT) -> None:
    """Ask every instance in the run directory."""
    instances.tell([_ask(instance) for instance in instances.running()], output, _lines, _trouble)


def _ask(instance: "Instance") -> dict[str, Any]:
    """What it says of itself; `error` when it does not answer."""
    from http.client import HTTPException

    known = {"role": instance.role, "name": instance.name, "pid": instance.pid, "admin": instance.admin}
    try:
        ready, config = instances.get(instance.admin, "/ready"), instances.get(instance.admin, "/api/v1/config")
        clusters = instances.get(instance.admin, "/api/v1/clusters")["clusters"]
    except (OSError, ValueError, HTTPException) as error:
        return {**known, "error": f"its admin server does not answer: {error}"}
    told = {key: ready[key] for key in ready if key not in ("role", "name")}
    # Of the registration, and of config entries.
    missing = [*told.get("not_carried_out", ()), *config["not_carried_out"]]
    out = [line for cluster in clusters for line in _out(cluster)]
    full = [line for cluster in clusters for line in _full(cluster)]
    return {
        **known,
        **told,
        "documents": len(config["documents"]),
        "not_carried_out": missing,
        "out": out,
        "full": full,
    }


def _out(cluster: dict[str, Any]) -> list[str]:
    """Who of it gets no requests at the moment."""
    name, whole = cluster["name"], cluster["open_ms"]
    ejected = {who["address"]: who["ejected_ms"] for who in cluster["endpoints"] if who["ejected_ms"] is not None}
    found = [] if whole is None else [f"{name} gets no requests for {whole / 1000:g} s: too many have failed"]
    found += [f"{who} of {name} is ejected for {left / 1000:g} s: it fails" for who, left in ejected.items()]
    checks = {who["address"]: who["check"] for who in cluster["endpoints"] if who["check"] is not None}
    return found + [
        f"{who} of {name} fails its health check: {check['error'] or 'well again, for too short a time'}"
        for who, check in checks.items()
        if not check["well"]
    ]


# What is counted, and the limit of it.
_LIMITED = {
    "requests_active": "max_requests",
    "requests_pending": "max_pending",
    "connections_active": "max_connections",
    "retries_active": "max_retries",
}


def _full(cluster: dict[str, Any]) -> list[str]:
    """Which limits of its circuit_breaker are reached at the moment."""
    limits = cluster["limits"]
    own = {f"per_endpoint.{name}": most for name, most in limits["per_endpoint"].items()}
    found = [f"{cluster['name']} is at its {limit}" for limit in _reached(cluster, limits)]
    for endpoint in cluster["endpoints"]:
        who = f"{endpoint['address']} of {cluster['name']}"
        found += [f"{who} is at its {limit}" for limit in _reached(endpoint, own, "per_endpoint.")]
    return found


def _reached(counts: dict[str, Any], limits: dict[str, int | None], prefix: str = "") -> Iterator[str]:
    """ "max_requests (1024)"."""
    for count, limit in _LIMITED.items():
        most = limits.get(prefix + limit)
        if most is not None and counts[count] >= most:
            yield f"{prefix}{limit} ({most})"


def _lines(instance: dict[str, Any]) -> list[str]:
    """ "sidecar orders: ready, 3 documents, configuration 12, admin 127.0.0.1:19000", and what is to be looked at."""
    who = f"{instance['role']} {instance['name']}"
    if "error" in instance:
        return [f"{who}: {instance['error']}"]
    documents = f"{instance['documents']} document{'' if instance['documents'] == 1 else 's'}"
    first = f"{who}: {instance['state']}, {documents}, configuration {instance['config_version']}"
    lines = [f"{first}, admin {instance['admin']}", *(f"  {line}" for line in _trouble(instance))]
    return [*lines, *(f"  not carried out: {what}" for what in instance["not_carried_out"])]


def _trouble(instance: dict[str, Any]) -> list[str]:
    """What somebody should look at."""
    if "error" in instance:
        return [instance["error"]]
    found = []
    if instance["state"] == "starting":
        found.append(f"waiting for {instance.get('waiting_for', 'its start')}")
    if instance.get("stale_seconds"):
        reason = instance.get("consul_failure", "its servers have no leader")
        found.append(f"what Consul told is {instance['stale_seconds']:g} s old: {reason}")
    if instance.get("refused"):
        found.append(f"the last change was refused: {instance['refused']}")
    found += [f"it runs out of {what}: {without}" for what, without in instance.get("lacks", {}).items()]
    if problem := instance.get("spans", {}).get("problem"):
        found.append(f"spans are not sent to {instance['spans']['to']}: {problem}")
    found += instance["out"] + instance["full"]
    found += [f"held: {what}" for what in instance.get("held", ())]
    return found + [f"refused: {_problem(problem)}" for problem in instance.get("refusals", ())]


def _problem(problem: dict[str, Any]) -> str:
    index = f" (index {problem['index']})" if problem.get("index") else ""
    return f"{problem['place']}{index}: {problem['message']}"
