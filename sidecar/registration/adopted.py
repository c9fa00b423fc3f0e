"""A registration made by others: an agent's definition, Nomad's, a script's. We are its proxy, and never its owner.

What it says of the proxy is taken as it says it: the port of the inbound listener, where the application is, and the
upstreams with their local ports. It is followed by hash-blocking, so a change is live as soon as the agent has it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from sidecar.consul import opaque
from sidecar.consul.client import ConsulClient
from sidecar.consul.fields import Done, Json, beyond
from sidecar.consul.shape import fields, odd
from sidecar.errors import ConsulError
from sidecar.snapshot.role import Exposed, Upstream
from sidecar.world import is_callable

# Seconds of one blocking query, and beyond it for the answer.
WAIT, ANSWER_WITHIN = 60.0, 10.0
# What of `Proxy` and of each of its upstreams is carried out.
DONE: Done = {
    **dict.fromkeys(("DestinationServiceName", "DestinationServiceID", "LocalServiceAddress", "LocalServicePort")),
    "Config": {"bind_address": None, "bind_port": None, "protocol": frozenset(opaque.PROTOCOLS), **opaque.LOCAL},
    "Upstreams": None,
    "Mode": frozenset({"direct"}),
    "Expose": {"Paths": None},
    "MeshGateway": {"Mode": frozenset({"none"})},
}
# What no proxy can do that reads Consul's API, and what to write instead: its checks have an empty `Definition`.
WHY = {
    "Expose.Checks": "Consul's API tells the ports that its checks take here, but neither their paths nor the "
    "application's ports: name both in Proxy.Expose.Paths",
}
UPSTREAM_DONE: Done = {
    **dict.fromkeys(("DestinationType", "DestinationName", "DestinationNamespace", "DestinationPartition")),
    **dict.fromkeys(("Datacenter", "LocalBindAddress", "LocalBindPort")),
    "Config": opaque.CALLS,
    "MeshGateway": {"Mode": frozenset({"none"})},
}


@dataclass(frozen=True)
class Adopted:
    """What a registration says of its proxy. Addresses are "ip:port"."""

    service: str
    service_id: str
    proxy_id: str
    inbound: str
    app_address: str
    upstreams: tuple[Upstream, ...] = ()
    exposed: tuple[Exposed, ...] = ()
    # As they were written: of the proxy, and of its upstreams by service.
    config: Json = field(default_factory=dict)
    upstream_configs: Mapping[str, Json] = field(default_factory=dict)
    # What the registration asks for and this version does not do, for people.
    not_carried_out: tuple[str, ...] = ()


async def find(client: ConsulClient, service_id: str) -> Adopted:
    """The proxy registered for the service `service_id` on our agent. Raises ConsulError with the next step."""
    path = "/v1/agent/services"
    # The id is not compared there: Consul's filter language has no way to write every text.
    told = fields((await client.get(path, {"filter": 'Kind == "connect-proxy"'})).value, path)
    proxies = {
        name: proxy
        for name, proxy in told.items()
        if fields(fields(proxy, path).get("Proxy"), path).get("DestinationServiceID") == service_id
    }
    if len(proxies) != 1:
        found = ", ".join(sorted(proxies)) or "none"
        if rule := client.hidden.get(path):
            found += f" (the token may not see all; its policy lacks {rule})"
        raise ConsulError(
            f"--sidecar-for {service_id}: expected one connect-proxy with Proxy.DestinationServiceID {service_id!r} on "
            f"this agent, found {found}; register one (`connect {{ sidecar_service {{}} }}`), "
            "or let us register with --service NAME --port PORT"
        )
    (proxy,) = proxies.values()
    return read(proxy)


async def follow(client: ConsulClient, proxy_id: str) -> AsyncIterator[Adopted]:
    """The registration after each change of it; ConsulError when it is gone or the agent does not answer."""
    path = f"/v1/agent/service/{proxy_id}"
    known = ""
    while True:
        query = {"hash": known, "wait": f"{WAIT:g}s"} if known else {}
        answer = await client.get(path, query, within=WAIT + WAIT / 16 + ANSWER_WITHIN)
        if answer.value is None:
            raise ConsulError(f"{proxy_id} is not registered any more on this agent; what it said last stays in force")
        told = fields(answer.value, path)
        if not isinstance(told.get("ContentHash"), str):
            raise odd(path, "a ContentHash")
        if told["ContentHash"] != known:
            known = told["ContentHash"]
            yield read(told)


def read(proxy: Json) -> Adopted:
    """What the agent says of a connect-proxy. Raises ConsulError naming what cannot be used."""
    try:
        return _read(proxy)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise odd("for a connect-proxy", f"Consul's fields ({error!r})") from None


def _read(proxy: Json) -> Adopted:
    told: Json = proxy.get("Proxy") or {}
    config: Json = told.get("Config") or {}
    name = proxy["ID"]
    if told.get("LocalServiceSocketPath"):
        raise ConsulError(f"{name}: Proxy.LocalServiceSocketPath is not supported yet: give LocalServicePort")
    port = config.get("bind_port") or proxy.get("Port")
    app_port = told.get("LocalServicePort")
    if not port or not app_port:
        lacking = "Port" if not port else "Proxy.LocalServicePort"
        raise ConsulError(f"{name}: the registration has no {lacking}: expected a port from 1 to 65535")
    upstreams, upstream_configs, ignored = [], {}, []
    for index, upstream in enumerate(told.get("Upstreams") or ()):
        what = f"Proxy.Upstreams[{index}] ({upstream.get('DestinationName')})"
        if reason := _beyond_us(upstream):
            ignored.append(f"{what}: {reason}")
            continue
        ignored += [f"{what}: {path}" for path in beyond(upstream, UPSTREAM_DONE)]
        address = _join(upstream.get("LocalBindAddress") or "127.0.0.1", upstream["LocalBindPort"])
        is_query = upstream.get("DestinationType") == "prepared_query"
        datacenter = "" if is_query else upstream.get("Datacenter") or ""
        upstreams.append(Upstream(upstream["DestinationName"], address, datacenter, is_query))
        if upstream.get("Config") and not is_query:
            upstream_configs[upstream["DestinationName"]] = upstream["Config"]
    bind_address = config.get("bind_address") or "0.0.0.0"  # noqa: S104 - other hosts connect to it, by mTLS
    exposed = []
    for index, path in enumerate((told.get("Expose") or {}).get("Paths") or ()):
        if reason := _beyond_probes(path):
            ignored.append(f"Proxy.Expose.Paths[{index}] ({path.get('Path')}): {reason}")
            continue
        address = _join(bind_address, path["ListenerPort"])
        exposed.append(Exposed(address, path["Path"], path["LocalPathPort"], path.get("Protocol") or "http"))
    ignored += [f"Proxy.{path}: {WHY[path]}" if path in WHY else f"Proxy.{path}" for path in beyond(told, DONE)]
    return Adopted(
        service=told["DestinationServiceName"],
        service_id=told.get("DestinationServiceID") or told["DestinationServiceName"],
        proxy_id=name,
        inbound=_join(bind_address, port),
        app_address=_join(told.get("LocalServiceAddress") or "127.0.0.1", app_port),
        upstreams=tuple(upstreams),
        exposed=tuple(exposed),
        config=config,
        upstream_configs=upstream_configs,
        not_carried_out=tuple(ignored),
    )


def _beyond_us(upstream: Json) -> str:
    """What of an upstream we cannot do; "" for one that we can."""
    if not is_callable(str(upstream.get("DestinationName"))):
        return "its name is not one label of a host name"
    if upstream.get("DestinationType") not in (None, "", "service", "prepared_query"):
        return f"DestinationType {upstream['DestinationType']}"
    if upstream.get("LocalBindSocketPath") or not upstream.get("LocalBindPort"):
        return "without a LocalBindPort"
    return f"DestinationPeer {upstream['DestinationPeer']}" if upstream.get("DestinationPeer") else ""


def _beyond_probes(path: Json) -> str:
    """What of an exposed path we cannot do; "" for one that we can."""
    if not str(path.get("Path")).startswith("/"):
        return "it is no absolute path"
    if lacking := next((field for field in ("ListenerPort", "LocalPathPort") if not path.get(field)), ""):
        return f"without a {lacking}"
    protocol = path.get("Protocol")
    return "" if protocol in (None, "", "http", "http2") else f"Protocol {protocol}"


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
