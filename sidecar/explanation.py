"""What would become of a request at one instance, as JSON: the data plane decides, the snapshot has the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sidecar.config.model.traffic import GRPC_STATUSES
from sidecar.config.spelling import nearest
from sidecar.dataplane import DataPlane
from sidecar.errors import SidecarError
from sidecar.snapshot import GatewayRole, Role, SidecarRole, compile
from sidecar.snapshot.cluster import is_local, spiffe_id
from sidecar.wire import control_pb2 as control
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import Target, World

Json = dict[str, Any]

# By number.
_CALLS = {number: name for name, number in GRPC_STATUSES.items()}
# The data plane's own where the snapshot has 0 (dataplane/src/snapshot/model.rs).
_ATTEMPTS = 3


@dataclass(frozen=True)
class Asked:
    """A request. `source` is the service that sends it to a service's own sidecar; "": it leaves from beside us."""

    method: str
    # "http://orders/path?query"
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    source: str = ""
    # The IP address that it comes from; "": this host.
    client: str = ""

    @classmethod
    def of_query(cls, query: Iterable[tuple[str, str]]) -> Asked:
        """From `method`, `url`, `from`, `client` and any number of `header=name: value`. Raises SidecarError."""
        pairs = list(query)
        told = {"method": "GET", "url": "", "from": "", "client": "", **dict(pairs)}
        headers = tuple(cls.of_header(text) for name, text in pairs if name == "header")
        return cls(told["method"], told["url"], headers, told["from"], told["client"])

    @staticmethod
    def of_header(text: str) -> tuple[str, str]:
        """ "x-user: ann". Raises SidecarError."""
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise SidecarError(f"header {text!r} is not `name: value`")
        return name.strip().lower(), value.strip()

    def query(self) -> list[tuple[str, str]]:
        """As `of_query` reads it."""
        headers = [("header", f"{name}: {value}") for name, value in self.headers]
        return [("method", self.method), ("url", self.url), ("from", self.source), ("client", self.client), *headers]


def explain(plane: DataPlane, world: World, role: Role, asked: Asked) -> Json:
    """Route, rules, filters, destinations and limits. Raises SidecarError when it is no request, or nobody listens."""
    # The version says nothing here: it is not applied.
    snapshot = compile(world, role, 1)
    listener = _listener(snapshot, role, asked)
    peer = spiffe_id(world, Target(asked.source)) if asked.source else ""
    said = plane.explain(
        control.ExplainQuery(
            snapshot=snapshot.SerializeToString(),
            listener=listener.name,
            method=asked.method,
            url=asked.url,
            headers=[control.Field(name=name, value=value) for name, value in asked.headers],
            peer=peer,
            client=asked.client,
        )
    )
    (table,) = (table for table in snapshot.route_tables if table.name == listener.route_table)
    route = table.routes[said.route] if said.HasField("route") else None
    clusters = {cluster.name: cluster for cluster in snapshot.clusters}
    found = {
        "role": "gateway" if isinstance(role, GatewayRole) else "sidecar",
        "name": role.name if isinstance(role, GatewayRole) else role.service,
        "listener": listener.name,
        "from": peer,
        "host": said.host,
        "target": said.target,
        "route": _named(route) if route is not None else None,
        "others": [
            {**_named(table.routes[missed.route]), "conditions": list(missed.conditions)} for missed in said.missed
        ],
        "other_hosts": len(table.routes) - len(said.missed) - (route is not None),
        "nearest_host": "" if route is not None or said.missed else nearest(said.host, _hosts(table)) or "",
        "refused": said.refused,
        "rules": [{"allow": verdict.allow, "by": verdict.by} for verdict in said.verdicts],
    }
    if route is None:
        return {**found, "filters": [], "destinations": []}
    return {
        **found,
        "filters": list(_filters(listener, route, said, asked)),
        "timeout_ms": route.timeout_ms or None,
        "retry": _retry(route.retry),
        "destinations": [_destination(to, route, clusters[to.cluster]) for to in route.destinations],
    }


def _listener(snapshot: wire.Snapshot, role: Role, asked: Asked) -> wire.Listener:
    """Where such a request comes in."""
    listeners = {listener.name: listener for listener in snapshot.listeners}
    if isinstance(role, SidecarRole):
        return listeners["inbound" if asked.source else "outbound"]
    if not listeners:
        raise SidecarError(f"the gateway {role.name} has no listener")
    try:
        url = urlsplit(asked.url)
        port = url.port or {"https": 443}.get(url.scheme, 80)
    except ValueError as error:
        raise SidecarError(f"{asked.url}: {error}") from error
    # All have the same routes: what differs is whose words they believe.
    of_port = [one for one in snapshot.listeners if one.address.endswith(f":{port}")]
    return (of_port or list(snapshot.listeners))[0]


def _named(route: wire.Route) -> Json:
    return {"name": route.name, **_origin(route.origin)}


def _origin(origin: wire.Origin) -> Json:
    return {"origin": origin.place, "origin_index": origin.index or None}


def _hosts(table: wire.RouteTable) -> set[str]:
    return {host for route in table.routes for host in route.match.hosts}


def _filters(
    listener: wire.Listener, route: wire.Route, said: control.Explanation, asked: Asked
) -> Iterator[dict[str, str]]:
    """What is done to it, in the order in which it is done."""

    def effect(name: str, words: str) -> dict[str, str]:
        return {"filter": name, "effect": words}

    if listener.direction == wire.DIRECTION_EDGE:
        believed = listener.forwarding.trusted or listener.forwarding.hops
        words = "of proxies that are trusted is believed, else replaced" if believed else "of the client is replaced"
        yield effect("forwarding", f"what X-Forwarded-For and the like say {words}")
    if listener.HasField("authorization"):
        yield effect("authorization", said.refused or "the caller may")
    if listener.HasField("https_redirect"):
        yield effect("https_redirect", f"what comes in the clear is sent to port {listener.https_redirect.port}")
    for entered in (listener, route):
        if entered.HasField("sources"):
            yield effect("sources", _sources(entered.sources))
    if route.shape.methods:
        yield effect("methods", f"{', '.join(route.shape.methods)}, else 405")
    if route.shape.content_types:
        yield effect("content_types", f"content of {', '.join(route.shape.content_types)}, else 415")
    if route.HasField("authentication"):
        yield effect("authenticate", f"{_methods(route.authentication)}, else 401; credentials are not looked at here")
    if route.HasField("access"):
        yield effect("allow", " or ".join(map(_access, route.access.rules)) or "nobody")
    if (concurrency := listener.admission.concurrency) > 0:
        yield effect("concurrency", f"at most {concurrency} at a time, else 503")
    if listener.admission.HasField("rate"):
        yield effect("rate_limit", _rate(listener.admission.rate))
    for quota in route.quotas:
        yield effect("rate_limit", f"of the {quota.name}: {_rate(quota.rate)}")
    if said.answered:
        yield effect(*_answered(route))
        return
    if route.HasField("cors"):
        yield effect("cors", f"pages of {', '.join(route.cors.allow_origins)} may read the answer")
    if route.max_request_body:
        yield effect("max_request_body", f"content beyond {route.max_request_body} bytes is refused with 413")
    if said.faulty:
        yield from (effect("fault", words) for words in _fault(route.fault))
    sent = urlsplit(asked.url)
    before = (sent.path or "/") + (f"?{sent.query}" if sent.query else "")
    if said.target != before:
        yield effect("rewrite", f"{before} becomes {said.target}")
    if said.rewritten_host:
        yield effect("rewrite", f"the host becomes {said.rewritten_host}")
    for name, changes in (("request_query", route.query_changes), ("request_cookies", route.cookie_changes)):
        if changes:
            yield effect(name, ", ".join(map(_change, changes)))
    if route.HasField("mirror"):
        yield effect("mirror", f"{_share(route.mirror.share, 1_000_000)} go to {route.mirror.cluster} too")


def _answered(route: wire.Route) -> tuple[str, str]:
    """What answers its requests, and how."""
    if route.HasField("redirect"):
        return "redirect", f"it is answered here with {route.redirect.status} and another place, nobody is called"
    if route.HasField("respond"):
        return "respond", f"it is answered here with {route.respond.status}, nobody is called"
    return "cors", "the preflight is answered here, nobody is called"


def _change(change: wire.HeaderChange) -> str:
    """What becomes of a parameter or a cookie; facts of the request stay as they are written."""
    words = {"set": f"becomes {change.set}", "add": f"is {change.add} too", "remove": "is taken away"}
    return f"{change.name} {words[change.WhichOneof('kind') or '']}"


def _sources(sources: wire.Sources) -> str:
    """Of lists that may be long their lengths."""
    denied = f"clients of {len(sources.deny)} networks may not" if sources.deny else ""
    allowed = f"clients of {len(sources.allow)} networks may" if sources.only else ""
    return f"{', '.join(filter(None, (denied, allowed))) or 'all clients may'}, else 403"


def _rate(rate: wire.RateLimit) -> str:
    by = ", ".join(map(_key, rate.by))
    return f"{rate.requests} in {rate.period_ms / 1000:g} s{by and ' by ' + by}, else 429"


def _key(key: wire.RateKey) -> str:
    kind = key.WhichOneof("kind") or ""
    return f"{kind} {getattr(key, kind)}" if kind in ("header", "claim") else kind


def _methods(asked: wire.Authentication) -> str:
    """ "key, or basic and jwt of https://id.example.com, or nothing as consumer guest"."""
    ways = [" and ".join(map(_method, alternative.all)) for alternative in asked.alternatives]
    return ", or ".join([*ways, *([f"nothing as consumer {asked.anonymous}"] if asked.anonymous else [])])


def _method(method: wire.Method) -> str:
    kind = method.WhichOneof("kind") or ""
    return f"{kind} of {method.jwt.issuer}" if kind == "jwt" else kind


def _access(rule: wire.AccessRule) -> str:
    parts = [
        f"{name} {'|'.join(said)}" for name, said in (("consumer", rule.consumers), ("group", rule.groups)) if said
    ]
    return " and ".join([*parts, *(f"claim {test.claim} {'|'.join(test.values)}" for test in rule.claims)])


def _fault(fault: wire.Fault) -> Iterator[str]:
    if fault.delay_share:
        yield f"{_share(fault.delay_share, 1_000_000)} wait {fault.delay_ms} ms"
    if fault.reset_share:
        yield f"{_share(fault.reset_share, 1_000_000)} are broken off"
    if fault.abort_share:
        yield f"{_share(fault.abort_share, 1_000_000)} are answered with {fault.abort_status}"
    if fault.by_header:
        yield "trusted callers may ask for one"


def _retry(retry: wire.RetryPolicy) -> Json:
    """`on` has the words of the document."""
    ranges = [f"{one.first}" if one.first == one.last else f"{one.first}-{one.last}" for one in retry.statuses]
    calls = [_CALLS[call] for call in retry.calls]
    return {
        "attempts": retry.attempts or _ATTEMPTS,
        "on": ["connect-failure", *(["reset"] if retry.reset else []), *ranges, *calls],
        "per_try_timeout_ms": retry.per_try_timeout_ms or None,
    }


def _destination(to: wire.Destination, route: wire.Route, cluster: wire.Cluster) -> Json:
    weights = sum(each.weight for each in route.destinations)
    local = is_local(cluster.name)
    return {
        "cluster": cluster.name,
        "service": "" if local else cluster.service,
        "subset": cluster.subset,
        "share": _share(to.weight, weights),
        "protocol": wire.UpstreamProtocol.Name(cluster.protocol).removeprefix("UPSTREAM_PROTOCOL_").lower(),
        "load_balancer": wire.BalancePolicy.Name(cluster.balance).removeprefix("BALANCE_POLICY_").lower(),
        # Who must be at the other end; none: no mutual TLS.
        "expected": list(cluster.tls.spiffe_ids),
        "limits": _limits(cluster.limits),
        **_origin(cluster.origin),
    }


def _limits(limits: wire.ClusterLimits) -> Mapping[str, int]:
    names = ("max_connections", "max_pending", "max_requests", "max_retries")
    return {name: getattr(limits, name) for name in names if getattr(limits, name)}


def _share(part: int, whole: int) -> str:
    """ "95 %", "0.1 %"."""
    return f"{100 * part / whole:.4g} %"
