"""Config entries of a real Consul: each of their fields is carried out, or named. None is ignored silently."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from sidecar.consul.client import ConsulClient
from sidecar.consul.settings import read
from sidecar.snapshot import SidecarRole, compile
from sidecar.sources.config_entries import DONE
from sidecar.sources.discovery_chain import DiscoveryChains
from sidecar.world import ChainsUpdate, Site, World
from tests.real.consul_agent import Agent, running

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

HEADERS: dict[str, Any] = {"Add": {"x-a": "1"}, "Set": {"x-b": "1"}, "Remove": ["x-c"]}
EXTENSION = [{"Name": "builtin/lua", "Arguments": {"ProxyType": "connect-proxy", "Listener": "inbound", "Script": "x"}}]
CHECK = {"Interval": "10s", "MaxFailures": 3}
UPSTREAM: dict[str, Any] = {
    "EnvoyListenerJSON": "{}",
    "EnvoyClusterJSON": "{}",
    "Protocol": "http",
    "ConnectTimeoutMs": 700,
    "Limits": {"MaxConnections": 3},
    "Limits.MaxPendingRequests": {"Limits": {"MaxPendingRequests": 3}},
    "Limits.MaxConcurrentRequests": {"Limits": {"MaxConcurrentRequests": 3}},
    "PassiveHealthCheck": CHECK,
    "MeshGateway": {"Mode": "local"},
    "BalanceOutboundConnections": "exact_balance",
}


def each(values: Mapping[str, Any], *path: str) -> dict[str, Any]:
    """By "path.Field" an entry's part that has this field alone; a name with a dot has its parts written out."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        part = value if "." in name else {name: value}
        for outer in reversed(path):
            part = {outer: part}
        found[".".join((*path, name))] = part
    return found


# By kind every field that Consul 1.22's community edition takes (its package api, config_entry*.go), each with a value
# that asks for something.
FIELDS: dict[str, dict[str, Any]] = {
    "proxy-defaults": each(
        {
            "Mode": "transparent",
            "TransparentProxy": {"OutboundListenerPort": 22500},
            "MutualTLSMode": "permissive",
            "MeshGateway": {"Mode": "local"},
            "Expose": {"Checks": True},
            "AccessLogs": {"Enabled": True},
            "EnvoyExtensions": EXTENSION,
        }
    )
    | each(
        {
            "protocol": "http2",
            "local_connect_timeout_ms": 900,
            "local_request_timeout_ms": 900,
            "max_inbound_connections": 9,
            "envoy_tracing_json": "{}",
            "handshake_timeout_ms": 5,
        },
        "Config",
    ),
    "service-defaults": each(
        {
            "Protocol": "grpc",
            "Mode": "transparent",
            "TransparentProxy": {"DialedDirectly": True},
            "MutualTLSMode": "permissive",
            "MeshGateway": {"Mode": "local"},
            "Expose": {"Paths": [{"Path": "/x", "ListenerPort": 21500, "LocalPathPort": 8080, "Protocol": "http"}]},
            "ExternalSNI": "x.example.com",
            "MaxInboundConnections": 3,
            "LocalConnectTimeoutMs": 700,
            "LocalRequestTimeoutMs": 700,
            "EnvoyExtensions": EXTENSION,
            "MaxRequestHeadersKB": 7,
            "Destination": {"Addresses": ["10.9.9.9"], "Port": 443},
        }
    )
    | each(UPSTREAM, "UpstreamConfig", "Defaults")
    | {
        f"UpstreamConfig.Overrides.{name}": {
            "UpstreamConfig": {"Overrides": [{"Name": "other", **(item if "." in name else {name: item})}]}
        }
        for name, item in UPSTREAM.items()
    },
    "service-router": {
        f"Match.{name}": {"Routes": [{"Match": {"HTTP": http}, "Destination": {"Service": "other"}}]}
        for name, http in {
            "PathExact": {"PathExact": "/a"},
            "PathPrefix": {"PathPrefix": "/a"},
            "PathRegex": {"PathRegex": "/a[0-9]+"},
            "CaseInsensitive": {"PathExact": "/a", "CaseInsensitive": True},
            "Methods": {"Methods": ["PUT"]},
            "Header.Present": {"Header": [{"Name": "x", "Present": True}]},
            "Header.Exact": {"Header": [{"Name": "x", "Exact": "1"}]},
            "Header.Prefix": {"Header": [{"Name": "x", "Prefix": "1"}]},
            "Header.Suffix": {"Header": [{"Name": "x", "Suffix": "1"}]},
            "Header.Regex": {"Header": [{"Name": "x", "Regex": "1+"}]},
            "Header.Invert": {"Header": [{"Name": "x", "Exact": "1", "Invert": True}]},
            "QueryParam.Present": {"QueryParam": [{"Name": "x", "Present": True}]},
            "QueryParam.Exact": {"QueryParam": [{"Name": "x", "Exact": "1"}]},
            "QueryParam.Regex": {"QueryParam": [{"Name": "x", "Regex": "1+"}]},
        }.items()
    }
    | {
        f"Destination.{name}": {"Routes": [{"Match": {"HTTP": {"PathPrefix": "/a/"}}, "Destination": destination}]}
        for name, destination in {
            "Service": {"Service": "other"},
            "ServiceSubset": {"ServiceSubset": "v1"},
            "PrefixRewrite": {"PrefixRewrite": "/b/"},
            "RequestTimeout": {"RequestTimeout": "3s"},
            "IdleTimeout": {"IdleTimeout": "3s"},
            "NumRetries": {"NumRetries": 4},
            "RetryOnConnectFailure": {"RetryOnConnectFailure": True},
            "RetryOn": {"RetryOn": ["5xx"]},
            "RetryOnStatusCodes": {"RetryOnStatusCodes": [503]},
            "RequestHeaders": {"RequestHeaders": HEADERS},
            "ResponseHeaders": {"ResponseHeaders": HEADERS},
        }.items()
    },
    "service-splitter": {
        name: {"Splits": [{"Weight": 60, **half}, {"Weight": 40, "ServiceSubset": "v2"}]}
        for name, half in each(
            {"Weight": 60, "Service": "other", "RequestHeaders": HEADERS, "ResponseHeaders": HEADERS}
        ).items()
    },
    "service-resolver": each(
        {
            "DefaultSubset": "v1",
            "ConnectTimeout": "3s",
            "RequestTimeout": "3s",
            "Redirect": {"Service": "other"},
        }
    )
    | {
        "Subsets.Filter": {"Subsets": {"v1": {"Filter": "Service.Meta.other == 1"}, "v2": {}}},
        "Subsets.OnlyPassing": {"Subsets": {"v1": {"OnlyPassing": True}, "v2": {}}},
        "Redirect.Datacenter": {"Subsets": {}, "Redirect": {"Service": "other", "Datacenter": "dc1"}},
        "Redirect.ServiceSubset": {"Subsets": {}, "Redirect": {"Service": "split", "ServiceSubset": "v1"}},
        "Redirect.Peer": {"Subsets": {}, "Redirect": {"Service": "other", "Peer": "far"}},
        "Failover.Service": {"Failover": {"*": {"Service": "other"}}},
        "Failover.ServiceSubset": {"Failover": {"*": {"ServiceSubset": "v2"}}},
        "Failover.Datacenters": {"Failover": {"*": {"Datacenters": ["dc2"]}}},
        "Failover.Targets": {"Failover": {"*": {"Targets": [{"Service": "other"}, {"Datacenter": "dc3"}]}}},
        "Failover.Targets.Peer": {"Failover": {"*": {"Targets": [{"Peer": "far"}]}}},
        "LoadBalancer.Policy": {"LoadBalancer": {"Policy": "random"}},
        "LoadBalancer.Policy of hashes": {"LoadBalancer": {"Policy": "maglev"}},
        "LoadBalancer.RingHashConfig": {
            "LoadBalancer": {"Policy": "ring_hash", "RingHashConfig": {"MinimumRingSize": 7}}
        },
        "LoadBalancer.LeastRequestConfig": {
            "LoadBalancer": {"Policy": "least_request", "LeastRequestConfig": {"ChoiceCount": 7}}
        },
        "LoadBalancer.HashPolicies": {"LoadBalancer": {"Policy": "maglev", "HashPolicies": [{"SourceIP": True}]}},
    },
}
SUBSETS = {"v1": {"Filter": "Service.Meta.version == 1"}, "v2": {"Filter": "Service.Meta.version == 2"}}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running(tmp_path_factory.mktemp("consul")) as agent:
        agent.put("/v1/config", {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}})
        allowed = {"AllowEnablingPermissiveMutualTLS": True}
        agent.put("/v1/config", {"Kind": "mesh", **allowed})
        for name in ("other", "split"):
            agent.put("/v1/config", {"Kind": "service-defaults", "Name": name, "Protocol": "http"})
        agent.put("/v1/config", {"Kind": "service-resolver", "Name": "split", "Subsets": SUBSETS})
        yield agent


async def told_by(agent: Agent) -> ChainsUpdate:
    client = ConsulClient(read({"CONSUL_HTTP_ADDR": agent.address}))
    try:
        return await DiscoveryChains(client).read()
    finally:
        await client.close()


def effect(update: ChainsUpdate) -> tuple[list[str], object]:
    """What is named, and all that is done: by the sidecar of the service itself, and by what is known of endpoints."""
    world = World(discovered=True).apply(Site("mesh.consul", "dc1")).apply(update)
    chains = world.entries.chains
    subsets = {name: where for chain in chains.values() for name, where in chain.subsets.items()}
    only_passing = {name for chain in chains.values() for name in chain.only_passing}
    failover = {target: others for chain in chains.values() for target, others in chain.failover.items()}
    snapshot = compile(world, SidecarRole("it"), 1).SerializeToString(deterministic=True)
    return sorted(world.not_carried_out), (snapshot, subsets, only_passing, failover)


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, field) for kind, fields in FIELDS.items() for field in fields], ids=str
)
async def test_a_field_changes_what_we_do_or_is_named(agent: Agent, kind: str, field: str) -> None:
    name = "global" if kind == "proxy-defaults" else "it"
    plain: dict[str, Any] = {"Kind": kind, "Name": name}
    if kind == "proxy-defaults":
        plain["Config"] = {"protocol": "http"}
    elif kind == "service-resolver":
        plain["Subsets"] = SUBSETS
    elif kind != "service-defaults":
        agent.put("/v1/config", {"Kind": "service-resolver", "Name": "it", "Subsets": SUBSETS})
    with_field = {**plain, **FIELDS[kind][field]}
    if kind == "proxy-defaults":
        with_field["Config"] = {**plain["Config"], **with_field["Config"]}
    try:
        if kind in ("service-router", "service-splitter"):
            plain |= {"Routes": []} if kind == "service-router" else {"Splits": [{"Weight": 100}]}
        agent.put("/v1/config", plain)
        named_before, before = effect(await told_by(agent))
        agent.put("/v1/config", with_field)
        named, done = effect(await told_by(agent))
    finally:
        if kind == "proxy-defaults":
            agent.put("/v1/config", plain)
        else:
            agent.delete(f"/v1/config/{kind}/it")
            agent.delete("/v1/config/service-resolver/it")

    assert done != before or set(named) > set(named_before), f"{kind} {field} is ignored"


async def test_matches_and_headers_of_a_compiled_chain_are_carried_out(agent: Agent) -> None:
    http = {
        "PathPrefix": "/shop/",
        "QueryParam": [{"Name": "page", "Regex": "[0-9]+"}, {"Name": "beta", "Present": True}],
        "Header": [{"Name": "X-User", "Prefix": "b", "Invert": True}],
    }
    changes = {"Add": {"X-A": "1"}, "Set": {"X-B": "100%%"}, "Remove": ["X-C"]}
    destination = {"PrefixRewrite": "/", "RequestHeaders": changes, "ResponseHeaders": {"Remove": ["Server"]}}
    unlike = {"Set": {"Host": "it", "X-From": "%DOWNSTREAM_REMOTE_ADDRESS%"}}
    halves = [
        {"Weight": 60, "ServiceSubset": "v1", "RequestHeaders": {"Set": {"X-Way": "v1"}}},
        {"Weight": 40, "ServiceSubset": "v2", "RequestHeaders": unlike},
    ]
    try:
        agent.put("/v1/config", {"Kind": "service-resolver", "Name": "it", "Subsets": SUBSETS})
        agent.put("/v1/config", {"Kind": "service-splitter", "Name": "it", "Splits": halves})
        routes = [{"Match": {"HTTP": http}, "Destination": destination}]
        agent.put("/v1/config", {"Kind": "service-router", "Name": "it", "Routes": routes})
        update = await told_by(agent)
    finally:
        for kind in ("service-router", "service-splitter", "service-resolver"):
            agent.delete(f"/v1/config/{kind}/it")

    world = World(discovered=True).apply(Site("mesh.consul", "dc1")).apply(update)
    (table,) = [table for table in compile(world, SidecarRole("web"), 1).route_tables if table.name == "outbound"]
    route, rest = (route for route in table.routes if route.name.startswith("it/"))
    assert (route.match.path.prefix, route.rewrite.prefix) == ("/shop", "/")
    assert {value.name: value.WhichOneof("kind") for value in route.match.query} == {"page": "regex", "beta": "present"}
    assert [(field.name, field.prefix, field.invert) for field in route.match.headers] == [("x-user", "b", True)]
    first, second = route.destinations
    assert [(change.name, change.WhichOneof("kind")) for change in first.request_headers] == [
        ("x-way", "set"),
        ("x-c", "remove"),
        ("x-b", "set"),
        ("x-a", "add"),
    ]
    assert [change.name for change in second.request_headers] == ["x-c", "x-b", "x-a"]
    assert [change.name for change in second.response_headers] == ["server"]
    assert [list(to.response_headers) for to in rest.destinations] == [[], []]
    assert set(world.not_carried_out) >= {
        "service-splitter it: split 2: RequestHeaders.Set host: the host is not changed as a header",
        "service-splitter it: split 2: RequestHeaders.Set x-from: %DOWNSTREAM_REMOTE_ADDRESS% has a variable of Envoy",
    }
    assert not any("router" in text for text in world.not_carried_out)


def test_every_field_that_the_table_calls_done_is_one_of_consuls() -> None:
    for kind, done in DONE.items():
        top = {field.split(".")[0] for field in FIELDS[kind]}
        top |= {"Routes"} if kind == "service-router" else {"Splits"} if kind == "service-splitter" else set()
        # Nothing to see from outside: a worker takes every connection.
        assert set(done) - {"BalanceInboundConnections"} <= top, kind


async def test_kinds_that_are_not_supported_yet_are_named(agent: Agent) -> None:
    for entry in (
        {
            "Kind": "ingress-gateway",
            "Name": "in",
            "Listeners": [{"Port": 80, "Protocol": "http", "Services": [{"Name": "it", "Hosts": ["it"]}]}],
        },
        {"Kind": "terminating-gateway", "Name": "out", "Services": [{"Name": "legacy"}]},
        {"Kind": "api-gateway", "Name": "api", "Listeners": [{"Name": "l", "Port": 81, "Protocol": "http"}]},
        {"Kind": "exported-services", "Name": "default", "Services": [{"Name": "it", "Consumers": [{"Peer": "far"}]}]},
    ):
        agent.put("/v1/config", entry)
    named = await told_by(agent)

    general = {text.removesuffix(" is not supported yet") for text in named.not_carried_out}
    assert {"mesh mesh", "ingress-gateway in", "terminating-gateway out", "api-gateway api"} <= general
    assert "exported-services default" in general
