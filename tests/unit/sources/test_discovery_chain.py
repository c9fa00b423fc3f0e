"""Config entries of Consul become protocols, routes and subsets; what we do not do is named."""

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest

from sidecar.config.model.header_modifier import HeaderModifier
from sidecar.config.model.load_balancer import HashPart, LoadBalancer
from sidecar.config.model.retry import Retry
from sidecar.config.model.value_match import ValueMatch
from sidecar.consul.duration import duration
from sidecar.sources import discovery_chain
from sidecar.sources.chain_balancer import load_balancer
from sidecar.sources.chain_headers import header_modifier
from sidecar.sources.compiled_chain import compile_chain
from sidecar.sources.discovery_chain import DiscoveryChains
from sidecar.world import Chain, ChainBranch, ChainsUpdate, HeaderTest, Target
from tests.unit.consul.scripted import Reply, connected, scripted


def target(service: str, subset: str = "", datacenter: str = "dc1", filter_: str = "", **more: Any) -> dict[str, Any]:
    return {
        "Service": service,
        "ServiceSubset": subset,
        "Datacenter": datacenter,
        "Subset": {"Filter": filter_},
        **more,
    }


def chain(start: dict[str, Any], targets: dict[str, Any], **nodes: dict[str, Any]) -> dict[str, Any]:
    """A compiled chain whose resolvers are named like their targets."""
    resolvers = {
        f"resolver:{name}": {"Type": "resolver", "Name": name, "Resolver": {"Target": name, "ConnectTimeout": "5s"}}
        for name in targets
    }
    told = {"ServiceName": "orders", "Datacenter": "dc1", "Protocol": "grpc", "StartNode": "start"}
    return {**told, "Nodes": {"start": start, **resolvers, **nodes}, "Targets": targets}


SPLIT: dict[str, Any] = {
    "Type": "splitter",
    "Name": "orders",
    "Splits": [{"Weight": 99.5, "NextNode": "resolver:v1"}, {"Weight": 0.5, "NextNode": "resolver:v2"}],
}
V1, V2 = (
    target("orders", "v1", filter_="Service.Meta.version == 1"),
    target("orders", "v2", filter_='"canary" in Service.Tags'),
)


def router(match: dict[str, Any], **destination: Any) -> dict[str, Any]:
    route = {"Definition": {"Match": {"HTTP": match}, "Destination": destination}, "NextNode": "resolver:orders"}
    return {"Type": "router", "Name": "orders", "Routes": [route]}


def test_a_service_that_leads_to_itself_needs_no_route() -> None:
    start = {"Type": "resolver", "Name": "orders", "Resolver": {"Target": "orders", "ConnectTimeout": "5s"}}

    assert compile_chain(chain(start, {"orders": target("orders")})) == Chain(protocol="grpc")


def test_a_split_keeps_its_shares_and_its_subsets_their_filters() -> None:
    read = compile_chain(chain(SPLIT, {"v1": V1, "v2": V2}))

    (route,) = read.routes
    assert route.destinations == (ChainBranch(Target("orders", "v1"), 9950), ChainBranch(Target("orders", "v2"), 50))
    v1, v2 = read.subsets["orders", "v1"], read.subsets["orders", "v2"]
    assert v1 is not None
    assert v2 is not None
    assert (v1.matches({"version": "1"}), v2.matches({}, ["canary"])) == (True, True)
    assert read.not_carried_out == ()


def test_a_redirect_leads_to_another_service_and_another_datacenter() -> None:
    start = {"Type": "resolver", "Name": "orders", "Resolver": {"Target": "far", "ConnectTimeout": "3s"}}
    read = compile_chain(chain(start, {"far": target("stock", datacenter="dc2")}))

    assert read.routes[0].destinations == (ChainBranch(Target("stock", datacenter="dc2")),)
    assert read.connect_timeout == timedelta(seconds=3)


def test_a_route_has_its_match_rewrite_timeout_and_retries() -> None:
    match = {"PathPrefix": "/api/", "Methods": ["GET"], "Header": [{"Name": "X-Beta", "Exact": "1"}]}
    start = router(match, PrefixRewrite="/v2", RequestTimeout="1m30s", NumRetries=2, RetryOn=["5xx", "nonsense"])
    read = compile_chain(chain(start, {"orders": target("orders")}))
    (route,) = read.routes

    assert (str(route.match.plain.path), route.match.plain.methods) == ("/api/*", ("GET",))
    assert route.match.headers == (HeaderTest("x-beta", ValueMatch(exact="1")),)
    assert (str(route.rewrite), route.timeout) == ("/v2/*", timedelta(seconds=90))
    assert route.retry == Retry(attempts=3, on=("5xx",))
    assert read.not_carried_out == ("service-router orders: route 1: RetryOn nonsense",)


@pytest.mark.parametrize(
    ("told", "retry"),
    [
        ({}, None),
        ({"RetryOnConnectFailure": True}, Retry(attempts=2, on=("connect-failure",))),
        ({"RetryOn": ["reset-before-request"]}, Retry(attempts=2, on=("refused-stream",))),
        ({"RetryOnStatusCodes": [503, 409]}, Retry(attempts=2, on=(503, 409))),
        ({"NumRetries": 99, "RetryOn": ["unavailable"]}, Retry(attempts=8, on=("unavailable",))),
    ],
)
def test_retries_are_those_that_consul_has_envoy_make(told: dict[str, Any], retry: Retry | None) -> None:
    (route,) = compile_chain(chain(router({"PathPrefix": "/"}, **told), {"orders": target("orders")})).routes

    assert route.retry == retry


@pytest.mark.parametrize(
    ("match", "missing"),
    [
        ({"PathRegex": r"/a(?=b)"}, r"route 1 is left out: PathRegex /a(?=b)"),
        ({"QueryParam": [{"Name": "q", "Regex": "("}]}, "route 1 is left out: QueryParam q"),
        (
            {"QueryParam": [{"Name": "q", "Exact": "1"}, {"Name": "q", "Regex": "1"}]},
            "route 1 is left out: QueryParam q",
        ),
        ({"PathExact": "/a b"}, "route 1 is left out: PathExact /a b"),
        ({"Header": [{"Name": "x", "Regex": r"a\1"}]}, "route 1 is left out: Header x"),
        ({"Header": [{"Name": "x", "Sounds": "like y"}]}, "route 1 is left out: Header x"),
    ],
)
def test_a_route_whose_match_cannot_be_judged_is_left_out_and_named(match: dict[str, Any], missing: str) -> None:
    read = compile_chain(chain(router(match), {"orders": target("orders")}))

    assert read.routes == ()
    assert read.not_carried_out == (f"service-router orders: {missing}",)


@pytest.mark.parametrize(
    ("http", "regex"),
    [
        ({"PathExact": "/a.b", "CaseInsensitive": True}, r"(?i)/a\.b"),
        ({"PathPrefix": "/api"}, "/api.*"),
        ({"PathPrefix": "/api/", "CaseInsensitive": True}, "(?i)/api/.*"),
        ({"PathPrefix": "/"}, ""),
        ({"PathRegex": "/v[0-9]{1,3}/.*"}, "/v[0-9]{1,3}/.*"),
        ({"PathExact": "/a"}, ""),
    ],
)
def test_a_path_is_matched_as_consul_means_it(http: dict[str, Any], regex: str) -> None:
    (route,) = compile_chain(chain(router(http), {"orders": target("orders")})).routes

    assert route.match.path_regex == regex


@pytest.mark.parametrize(
    ("header", "test"),
    [
        ({"Present": True}, HeaderTest("x-a", ValueMatch(present=True))),
        ({"Present": True, "Invert": True}, HeaderTest("x-a", ValueMatch(present=False))),
        ({"Prefix": "b"}, HeaderTest("x-a", ValueMatch(prefix="b"))),
        ({"Suffix": ". b"}, HeaderTest("x-a", ValueMatch(regex=r".*\. b"))),
        ({"Regex": "b+"}, HeaderTest("x-a", ValueMatch(regex="b+"))),
        ({"Exact": "b", "Invert": True}, HeaderTest("x-a", ValueMatch(exact="b"), invert=True)),
    ],
)
def test_headers_are_tested_as_consul_means_it(header: dict[str, Any], test: HeaderTest) -> None:
    match = {"Header": [{"Name": "X-A", **header}]}
    (route,) = compile_chain(chain(router(match), {"orders": target("orders")})).routes

    assert route.match.headers == (test,)


def test_parameters_of_the_query_are_tested_as_consul_means_it() -> None:
    told = [{"Name": "page", "Exact": "1"}, {"Name": "Sort", "Regex": "a|d"}, {"Name": "all", "Present": True}]
    (route,) = compile_chain(chain(router({"QueryParam": told}), {"orders": target("orders")})).routes

    assert route.match.plain.query == {
        "page": ValueMatch(exact="1"),
        "Sort": ValueMatch(regex="a|d"),
        "all": ValueMatch(present=True),
    }


def test_headers_are_changed_by_a_route_and_by_the_ways_of_a_split() -> None:
    request: dict[str, Any] = {"Add": {"X-A": "1"}, "Set": {"x-b": "100%%"}, "Remove": ["X-C"]}
    first = {**SPLIT["Splits"][0], "Definition": {"RequestHeaders": request}}
    split = {**SPLIT, "Splits": [first, SPLIT["Splits"][1]]}
    start = router({"PathExact": "/a"}, ResponseHeaders={"Set": {"x-d": "2"}})
    start["Routes"][0]["NextNode"] = "split"
    read = compile_chain(chain(start, {"v1": V1, "v2": V2}, split=split))

    (route,) = read.routes
    assert (route.request_headers, route.response_headers) == (None, HeaderModifier(set={"x-d": "2"}))
    changed = HeaderModifier(add={"x-a": "1"}, set={"x-b": "100%%"}, remove=("x-c",))
    assert [branch.request_headers for branch in route.destinations] == [changed, None]
    assert read.not_carried_out == ()


@pytest.mark.parametrize(
    ("told", "changes", "missing"),
    [
        ({}, None, []),
        ({"Add": {}, "Set": None, "Remove": []}, None, []),
        # Envoy takes away, adds, and then sets.
        ({"Add": {"x": "1"}, "Set": {"X": "2"}}, HeaderModifier(set={"x": "2"}), []),
        ({"Add": {"x": "1"}, "Remove": ["x"]}, HeaderModifier(set={"x": "1"}), []),
        ({"Set": {"x": "1"}, "Remove": ["x"]}, HeaderModifier(set={"x": "1"}), []),
        ({"Set": {"x": "%PROTOCOL%"}}, None, ["Set x: %PROTOCOL% has a variable of Envoy"]),
        (
            {"Set": {"Host": "a", "x": "1"}},
            HeaderModifier(set={"x": "1"}),
            ["Set host: the host is not changed as a header"],
        ),
        ({"Add": {"x": ""}}, None, ["Add x: no header can have this value"]),
        (
            {"Remove": ["TraceParent"]},
            None,
            ["Remove traceparent: `traceparent` is what proxies tell each other, and the proxy writes it itself"],
        ),
    ],
)
def test_changes_of_headers_are_done_as_envoy_does_them_or_named(
    told: dict[str, Any], changes: HeaderModifier | None, missing: list[str]
) -> None:
    assert header_modifier(told) == (changes, missing)


def test_who_takes_over_stands_in_order_and_who_cannot_be_reached_is_named() -> None:
    resolver = {"Target": "orders", "ConnectTimeout": "5s", "Failover": {"Targets": ["far", "peer", "stock"]}}
    start = {"Type": "resolver", "Name": "orders", "Resolver": resolver}
    targets = {
        "orders": target("orders"),
        "far": target("orders", datacenter="dc2"),
        "peer": target("orders", Peer="other"),
        "stock": target("stock"),
    }
    read = compile_chain(chain(start, targets))

    assert read.failover == {Target("orders"): (Target("orders", datacenter="dc2"), Target("stock"))}
    assert read.not_carried_out == ("service-resolver orders: Peer other is not supported yet",)


@pytest.mark.parametrize(("told", "timeout"), [("3s", timedelta(seconds=3)), ("-1s", timedelta(0))])
def test_the_timeout_of_a_resolver_holds_where_a_route_says_none(told: str, timeout: timedelta) -> None:
    resolver = {"Type": "resolver", "Name": "orders", "Resolver": {"Target": "orders", "RequestTimeout": told}}
    (only,) = compile_chain(chain(resolver, {"orders": target("orders")})).routes
    assert (only.name, only.timeout) == ("all", timeout)

    start = {**router({"PathExact": "/a"}, RequestTimeout="9s"), "Routes": [
        {"Definition": {"Destination": {"RequestTimeout": "9s"}}, "NextNode": "own"}, {"NextNode": "own"}
    ]}  # fmt: skip
    first, second = compile_chain(chain(start, {"orders": target("orders")}, own=resolver)).routes
    assert (first.timeout, second.timeout) == (timedelta(seconds=9), timeout)


def test_a_target_to_which_nobody_can_be_led_is_named_and_has_no_route() -> None:
    start = {"Type": "resolver", "Name": "orders", "Resolver": {"Target": "x"}}
    read = compile_chain(chain(start, {"x": target("app")}))

    assert read.routes == ()
    assert read.not_carried_out == ("service-resolver app: app is no name of a host",)


def test_what_is_not_done_is_named() -> None:
    resolver = {"Target": "orders", "ConnectTimeout": "5s"}
    start = {"Type": "resolver", "Name": "orders", "Resolver": resolver, "LoadBalancer": {"Policy": "sticky"}}
    targets = {"orders": target("orders", "v1", filter_="Checks is empty")}

    assert compile_chain(chain(start, targets)).not_carried_out == (
        "service-resolver orders: LoadBalancer.Policy sticky",
        "service-resolver orders subset v1: Filter Checks is empty: `Checks` cannot be selected",
    )


def test_a_resolvers_load_balancer_becomes_ours() -> None:
    for told, expected in (
        ({"Policy": "round_robin"}, LoadBalancer(policy="round_robin")),
        ({"Policy": "least_request", "LeastRequestConfig": {"ChoiceCount": 7}}, LoadBalancer(choices=7)),
        ({"Policy": "least_request", "LeastRequestConfig": {"ChoiceCount": 99}}, LoadBalancer(choices=10)),
        (
            {
                "Policy": "ring_hash",
                "RingHashConfig": {"MinimumRingSize": 7, "MaximumRingSize": 9},
                "HashPolicies": [
                    {"Field": "header", "FieldValue": "X-User", "Terminal": True},
                    {"Field": "cookie", "FieldValue": "at", "CookieConfig": {"TTL": "1m0s", "Path": "/api"}},
                    {"Field": "cookie", "FieldValue": "id", "CookieConfig": {"Session": True}},
                    {"Field": "query_parameter", "FieldValue": "q"},
                    {"SourceIP": True},
                ],
            },
            LoadBalancer(
                policy="ring_hash",
                min_ring_size=7,
                max_ring_size=9,
                hash=(
                    HashPart(header="x-user", terminal=True),
                    HashPart(cookie="at", ttl=timedelta(minutes=1), path="/api"),
                    HashPart(cookie="id", ttl=timedelta(0)),
                    HashPart(query="q"),
                    HashPart(source=True),
                ),
            ),
        ),
        # Envoy hashes nothing then, and picks at random.
        ({"Policy": "maglev"}, LoadBalancer(policy="random")),
        ({}, None),
    ):
        assert load_balancer(told) == (expected, [])


def test_durations_are_gos() -> None:
    assert duration("1m1.5s") == timedelta(seconds=61.5)
    assert duration(5_000_000_000) == timedelta(seconds=5)
    assert (duration(""), duration(None)) == (None, None)


def entries(**kinds: list[dict[str, Any]]) -> dict[str, list[Reply]]:
    """One answer for each kind; the watch's own comes first."""
    names = ("service-defaults", "proxy-defaults", *discovery_chain._CHAINED, *discovery_chain._NOT_YET)
    replies = {f"/v1/config/{kind}": [Reply(kinds.get(kind.replace("-", "_"), []), index=3)] for kind in names}
    replies["/v1/config/service-defaults"] *= 2
    return replies


async def first(replies: dict[str, list[Reply]]) -> ChainsUpdate:
    async with (
        scripted(replies) as script,
        connected(script) as client,
        aclosing(DiscoveryChains(client).watch()) as it,
    ):
        return await anext(it)


async def test_protocols_come_from_the_service_and_else_from_proxy_defaults() -> None:
    defaults: list[dict[str, Any]] = [
        {"Kind": "service-defaults", "Name": "a", "Protocol": "grpc", "MeshGateway": {}, "Mode": ""},
        {"Kind": "service-defaults", "Name": "b", "ExternalSNI": "x"},
        {"Kind": "service-defaults", "Name": "c", "Protocol": "tcp"},
        {"Kind": "service-defaults", "Name": "d", "Protocol": "thrift"},
    ]
    proxy = [{"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http2", "envoy_x": 1}}]
    update = await first(entries(service_defaults=defaults, proxy_defaults=proxy))

    protocols = {name: item.protocol for name, item in update.chains.items()}
    assert protocols == {"a": "grpc", "b": "http2", "c": "tcp", "d": None}
    assert update.chains["b"].not_carried_out == ("service-defaults b: ExternalSNI",)
    assert update.chains["d"].not_carried_out == ("service-defaults d: Protocol thrift is not supported yet",)
    assert (update.protocol, update.not_carried_out) == ("http2", ("proxy-defaults global: Config.envoy_x",))


async def test_a_service_with_a_resolver_has_its_compiled_chain() -> None:
    replies = entries(service_resolver=[{"Kind": "service-resolver", "Name": "orders"}])
    replies["/v1/discovery-chain/orders"] = [Reply({"Chain": chain(SPLIT, {"v1": V1, "v2": V2})})]

    assert len((await first(replies)).chains["orders"].routes) == 1


async def test_a_chain_of_another_form_is_named_and_takes_nothing_else_away() -> None:
    replies = entries(service_splitter=[{"Kind": "service-splitter", "Name": "orders"}])
    replies["/v1/discovery-chain/orders"] = [Reply({"Chain": {"Nodes": {}}})]
    update = await first(replies)

    assert update.chains["orders"].routes == ()
    assert "discovery chain of orders: it has another form" in update.chains["orders"].not_carried_out[0]


async def two(replies: dict[str, list[Reply]]) -> list[ChainsUpdate]:
    async with (
        scripted(replies) as script,
        connected(script) as client,
        aclosing(DiscoveryChains(client).watch()) as it,
    ):
        async with asyncio.timeout(5):
            return [await anext(it), await anext(it)]


def twice(then: list[Reply], *defaults: dict[str, Any]) -> dict[str, list[Reply]]:
    """Entries that are read, and then read again: the watch, what is read of service-defaults, then `then`."""
    replies = entries(service_defaults=list(defaults))
    for kind in replies:
        replies[kind] *= 5
    path = "/v1/config/service-defaults"
    first, signal = replies[path][0], Reply([], index=9)
    replies[path] = [first, first, signal, *then]
    return replies


A = {"Kind": "service-defaults", "Name": "a", "Protocol": "grpc"}
B = {**A, "Protocol": "http2"}


@pytest.mark.parametrize("odd", [{"x": 1}, ["x"], [{"Kind": "service-defaults"}]])
async def test_entries_of_another_form_are_read_again(odd: object) -> None:
    _, second = await two(twice([Reply(odd, index=9), Reply([B], index=9)], A))

    assert second.chains["a"].protocol == "http2"


async def test_entries_that_vanish_are_held_while_the_token_may_not_read_them(caplog: pytest.LogCaptureFixture) -> None:
    hidden = Reply([], index=9, headers={"X-Consul-Results-Filtered-By-ACLs": "true"})
    _, second = await two(twice([hidden, hidden, hidden, Reply([B], index=9)], A))

    assert second.chains["a"].protocol == "http2"
    assert "config entries of 1 service held: the token may no longer read them" in caplog.text


async def test_entries_of_kinds_that_come_later_are_named() -> None:
    update = await first(entries(ingress_gateway=[{"Kind": "ingress-gateway", "Name": "edge"}]))

    assert update.not_carried_out == ("ingress-gateway edge is not supported yet",)
