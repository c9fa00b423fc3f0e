"""Which service, and which of its instances, a request reaches: by host, path, header, weight and port."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import Json, Running, failures
from tests.mesh import Mesh, eventually
from tests.peers import http1, scripted
from tests.peers.http1 import Http1
from tests.peers.message import Answer, App, Request, sized
from tests.real.programs import free_port

SUBSETS = {"v1": {"where": 'meta.version == "1"'}, "v2": {"where": 'meta.version == "2"'}}


def named(name: str) -> App:
    """An app that tells its name and the path it was asked for."""

    def app(request: Request) -> Answer:
        body = f"{name} {request.path}".encode()
        return Answer(200, sized(body), body)

    return app


@dataclass
class Instances:
    """Two versions of a service, and a third server for another."""

    v1: str
    v2: str
    other: str

    @property
    def endpoints(self) -> list[Json]:
        return [{"address": self.v1, "meta": {"version": "1"}}, {"address": self.v2, "meta": {"version": "2"}}]


@pytest.fixture(scope="module")
def instances() -> Iterator[Instances]:
    with ExitStack() as stack:
        yield Instances(*(stack.enter_context(http1.server(named(name))).address for name in ("one", "two", "other")))


def ask(address: str, host: str, path: str = "/", *, method: str = "GET", **fields: str) -> tuple[int, str]:
    """Status, and what the app told; "" when it was not an app that answered."""
    with Http1.connect(address) as peer:
        answer = peer.ask(
            Request(method, path, host, {name.replace("_", "-"): value for name, value in fields.items()})
        )
        return answer.status, answer.body.decode() if answer.status == 200 else ""


def spread(address: str, host: str, calls: int) -> Counter[str]:
    """How many of so many calls each app answered."""
    with Http1.connect(address) as peer:
        return Counter(peer.ask(Request(host=host)).body.decode().split()[0] for _ in range(calls))


@pytest.mark.parametrize("form", ["{}", "{}.mesh", "{}.service.consul", "{}:80", "{}.mesh:15001"])
def test_inside_the_mesh_a_service_has_its_names(running: Running, instances: Instances, form: str) -> None:
    service = running.service(instances.other)
    assert ask(running.web.outbound, form.format(service)) == (200, "other /")
    assert ask(running.web.outbound, form.format(service).upper()) == (200, "other /")


@pytest.mark.parametrize("form", ["x{}", "{}.example.com", "v3.{}.mesh", "{}.mesh.mesh"])
def test_no_other_name_leads_to_it(running: Running, instances: Instances, form: str) -> None:
    service = running.service(instances.other)
    assert ask(running.web.outbound, form.format(service)) == (404, "")


def test_the_first_route_that_matches_takes_the_request(running: Running, instances: Instances) -> None:
    def route(name: str, subset: str, **match: object) -> Json:
        return {"name": name, "match": match, "to": {"subset": subset}}

    service = running.service(
        endpoints=instances.endpoints,
        subsets=SUBSETS,
        routes=[
            route("exact", "v2", path="/status"),
            route("below", "v2", path="/api/*"),
            route("by-header", "v2", headers={"x-beta": "1"}),
            route("by-method", "v2", methods=["PUT", "PATCH"]),
            route("rest", "v1"),
        ],
    )
    for proxy in (running.web.outbound, running.edge.edge):
        assert ask(proxy, service, "/status") == (200, "two /status")
        assert ask(proxy, service, "/status?full=1") == (200, "two /status?full=1")
        assert ask(proxy, service, "/status/x") == (200, "one /status/x")
        assert ask(proxy, service, "/api") == (200, "two /api")
        assert ask(proxy, service, "/api/deep/er") == (200, "two /api/deep/er")
        assert ask(proxy, service, "/apis") == (200, "one /apis")
        assert ask(proxy, service, x_beta="1") == (200, "two /")
        assert ask(proxy, service, x_beta="10") == (200, "one /")
        assert ask(proxy, service, method="PATCH") == (200, "two /")
        assert ask(proxy, service) == (200, "one /")


def test_a_route_asks_for_a_parameter_a_cookie_a_client_or_a_call(running: Running, instances: Instances) -> None:
    def route(name: str, **match: object) -> Json:
        return {"name": name, "match": match, "to": {"subset": "v2"}}

    service = running.service(
        endpoints=instances.endpoints,
        subsets=SUBSETS,
        routes=[
            route("by-query", query={"beta": "1", "page": {"regex": "[0-9]+"}}),
            route("by-cookie", cookies={"group": {"prefix": "beta-"}}),
            route("by-client", path="/far/*", source=["192.0.2.0/24", "2001:db8::/32"]),
            route("by-nearer-client", path="/near/*", source=["127.0.0.0/8"]),
            route("by-call", grpc={"service": "shop.v1.Orders", "method": "Get"}),
            route("without", headers={"x-old": {"present": True}, "x-new": {"present": False}}),
            {"name": "rest", "to": {"subset": "v1"}},
        ],
    )
    for proxy in (running.web.outbound, running.edge.edge):
        assert ask(proxy, service, "/?page=12&beta=1") == (200, "two /?page=12&beta=1")
        assert ask(proxy, service, "/?page=1a&beta=1") == (200, "one /?page=1a&beta=1")
        assert ask(proxy, service, cookie="a=b; group=beta-7") == (200, "two /")
        assert ask(proxy, service, cookie="group=alpha") == (200, "one /")
        assert ask(proxy, service, "/far/a") == (200, "one /far/a")
        assert ask(proxy, service, "/near/a") == (200, "two /near/a")
        assert ask(proxy, service, "/shop.v1.Orders/Get")[1].startswith("one")
        assert ask(proxy, service, "/shop.v1.Orders/Get", content_type="application/grpc")[1].startswith("two")
        assert ask(proxy, service, "/shop.v1.Orders/Put", content_type="application/grpc")[1].startswith("one")
        assert ask(proxy, service, x_old="1") == (200, "two /")
        assert ask(proxy, service, x_old="1", x_new="1") == (200, "one /")


def echo(request: Request) -> Answer:
    """Tells the fields of the request, and has two of its own."""
    body = json.dumps(dict(request.fields)).encode()
    return Answer(200, {**sized(body), "server": "echo", "x-own": "1"}, body)


def test_a_route_and_a_way_of_its_split_change_headers(running: Running) -> None:
    with http1.server(echo) as app, scripted.refusing() as nobody:
        service = running.service(
            app.address,
            subsets={"all": {"where": "meta is empty"}},
            routes=[
                {
                    "name": "changed",
                    "split": [
                        {
                            "weight": 1,
                            "to": {"subset": "all"},
                            "request_headers": {"set": {"x-way": "all", "x-who": "way"}, "remove": ["x-debug"]},
                            "response_headers": {"remove": ["server"]},
                        }
                    ],
                    "request_headers": {"set": {"x-who": "route"}, "add": {"x-more": "2"}},
                    "response_headers": {"set": {"x-own": "route"}},
                }
            ],
        )
        running.route(
            {
                "name": service,
                "match": {"host": service},
                "to": {"service": service},
                "request_headers": {"add": {"x-edge": "1"}},
                "response_headers": {"add": {"strict-transport-security": "max-age=60"}},
            }
        )
        for proxy, at_edge in ((running.web.outbound, False), (running.edge.edge, True)):
            with Http1.connect(proxy) as peer:
                answer = peer.ask(Request(host=service, fields={"x-debug": "1", "x-more": "1", "x-who": "client"}))
            seen = json.loads(answer.body)
            assert (seen["x-way"], seen["x-who"], seen.get("x-debug")) == ("all", "route", None)
            assert "2" in seen["x-more"]
            assert seen.get("x-edge") == ("1" if at_edge else None)
            assert (answer.fields["x-own"], answer.fields.get("server")) == ("route", None)
            assert answer.fields.get("strict-transport-security") == ("max-age=60" if at_edge else None)

        broken = running.service(
            nobody, routes=[{"name": "all", "response_headers": {"set": {"x-own": "route"}}}], retry={"attempts": 1}
        )
        with Http1.connect(running.web.outbound) as peer:
            answer = peer.ask(Request(host=broken))
        assert (answer.status, answer.fields.get("x-own")) == (503, None), "our own answer stays as it is"


def test_a_path_cannot_be_written_past_the_route_that_is_about_it(running: Running, instances: Instances) -> None:
    service = running.service(
        endpoints=instances.endpoints,
        subsets=SUBSETS,
        routes=[
            {"name": "admin", "match": {"path": "/admin/*"}, "to": {"subset": "v2"}},
            {"name": "rest", "to": {"subset": "v1"}},
        ],
    )
    for proxy in (running.web.outbound, running.edge.edge):
        for path in (
            "/admin/x",
            "/open/../admin/x",
            "/%61dmin/x",
            "/open/%2e%2E/admin/./x",
            "/a\\..\\admin/x",
        ):
            assert ask(proxy, service, path) == (200, "two /admin/x"), path
        for path in ("/open/..%2fadmin", "/open/..;/admin", "/%2561dmin", "/admin;x/y", "//admin", "/admin%00"):
            assert ask(proxy, service, path) == (400, ""), path
        assert ask(proxy, service, "/open//a%2fb;c=d/?e=%2f/../") == (200, "one /open//a%2Fb;c=d/?e=%2f/../")


def test_a_host_names_a_subset(running: Running, instances: Instances) -> None:
    service = running.service(endpoints=instances.endpoints, subsets=SUBSETS)
    assert ask(running.web.outbound, f"v1.{service}.mesh") == (200, "one /")
    assert ask(running.web.outbound, f"v2.{service}.mesh") == (200, "two /")
    assert spread(running.web.outbound, service, 200).keys() == {"one", "two"}


def test_a_subset_in_which_nobody_is(running: Running, instances: Instances) -> None:
    service = running.service(
        endpoints=instances.endpoints,
        subsets={"v9": {"where": 'meta.version == "9"'}},
        routes=[{"name": "all", "to": {"subset": "v9"}}],
    )
    assert ask(running.web.outbound, service) == (503, "")
    eventually("the failure", lambda: failures(running.web, service))
    assert failures(running.web, service)[0]["reason"] == "no-endpoints"
    assert failures(running.web, service)[0]["cluster"] == f"{service}/v9"


def test_a_split_keeps_to_its_weights(running: Running, instances: Instances) -> None:
    branches = [{"weight": 90, "to": {"subset": "v1"}}, {"weight": 10, "to": {"subset": "v2"}}]
    service = running.service(
        endpoints=instances.endpoints, subsets=SUBSETS, routes=[{"name": "canary", "split": branches}]
    )
    seen = spread(running.web.outbound, service, 1000)
    # Six standard deviations (sqrt(1000 * 0.9 * 0.1) = 9.5) around the 100 that are expected.
    assert 43 <= seen["two"] <= 157
    assert seen["one"] + seen["two"] == 1000


def test_round_robin_is_even(running: Running, instances: Instances) -> None:
    service = running.service(instances.v1, instances.v2, load_balancer="round_robin")
    assert spread(running.web.outbound, service, 100) == {"one": 50, "two": 50}


def test_weights_of_endpoints_count(running: Running, instances: Instances) -> None:
    endpoints = [{"address": instances.v1, "weight": 3}, {"address": instances.v2}]
    service = running.service(endpoints=endpoints, load_balancer="round_robin")
    assert spread(running.web.outbound, service, 100) == {"one": 75, "two": 25}


def test_a_disabled_service_is_out_and_comes_back(running: Running, instances: Instances) -> None:
    service = running.service(instances.other, enabled=False)
    assert ask(running.web.outbound, service) == (404, "")
    running.service(instances.other, name=service, enabled=True)
    assert ask(running.web.outbound, service) == (200, "other /")


def test_a_gateway_rewrites_what_the_star_stood_for(running: Running, instances: Instances) -> None:
    service = running.service(instances.other)
    running.route(
        {
            "name": f"rewritten-{service}",
            "match": {"host": "shop.example.com", "path": "/api/*"},
            "rewrite": {"path": "/internal/*"},
            "to": {"service": service},
        }
    )
    assert ask(running.edge.edge, "shop.example.com", "/api/a/b?c=d") == (200, "other /internal/a/b?c=d")
    assert ask(running.edge.edge, "shop.example.com", "/api") == (200, "other /internal")
    assert ask(running.edge.edge, "shop.example.com", "/other") == (404, "")


def test_paths_have_parameters_and_expressions(running: Running, instances: Instances) -> None:
    def route(name: str, subset: str, **match: object) -> Json:
        return {"name": name, "match": match, "to": {"subset": subset}}

    service = running.service(
        endpoints=instances.endpoints,
        subsets=SUBSETS,
        routes=[
            route("me", "v1", path="/users/me"),
            route("orders", "v2", path="/users/{id}/orders/{order}"),
            route("numbered", "v2", path_regex="/v[0-9]+/(?P<what>a|b)"),
            route("below", "v2", path="/files/{name}/{rest=**}"),
            {"name": "rest", "to": {"subset": "v1"}},
        ],
    )
    for proxy in (running.web.outbound, running.edge.edge):
        for path in (
            "/users/7/orders/8",
            "/users/me/orders/8?x",
            "/v12/a",
            "/files/a",
            "/files/a/b/c",
            "/users/%37/orders/8",
        ):
            seen = path.replace("%37", "7")
            assert ask(proxy, service, path) == (200, f"two {seen}"), path
        for path in (
            "/users/me",
            "/users/7/orders",
            "/users/7/orders/",
            "/users//orders/8",
            "/v12/c",
            "/v1/a/",
            "/files/",
        ):
            status, body = ask(proxy, service, path)
            assert (status, body) in [(200, f"one {path}"), (400, "")], path
        # One segment or two: applications differ, and so do the routes.
        assert ask(proxy, service, "/users/a%2Fb/orders/8") == (400, "")


def test_a_gateway_rewrites_with_what_the_path_has(running: Running, instances: Instances) -> None:
    service = running.service(instances.other)

    def route(name: str, path: Json, rewrite: Json) -> None:
        match = {"host": f"{name}.example.com", **path}
        running.route({"name": f"{name}-{service}", "match": match, "rewrite": rewrite, "to": {"service": service}})

    route("template", {"path": "/users/{id}/orders/*"}, {"path": "/v2/{id}/*"})
    route("rest", {"path": "/{lang}/{rest=**}"}, {"path": "/{rest}"})
    route("group", {"path_regex": "/(?P<a>[^/]*)-(?P<b>.*)"}, {"path": "/{b}/{a}"})
    route("parts", {"path": "/*"}, {"regex": {"pattern": "/v([0-9]+)", "substitution": "/version-\\1"}})
    for host, path, seen in [
        ("template", "/users/7/orders/8/?x={id}", "/v2/7/8/?x={id}"),
        ("template", "/users/a%20b%3F/orders", "/v2/a%20b%3F"),
        ("rest", "/de/a/b?c", "/a/b?c"),
        ("rest", "/de", "/"),
        ("group", "/x-y?z", "/y/x?z"),
        ("parts", "/v1/v2/v", "/version-1/version-2/v"),
    ]:
        assert ask(running.edge.edge, f"{host}.example.com", path) == (200, f"other {seen}"), path
    # What was matched does not become a way up.
    for path in ("/..-x", "/x-..", "/x-../y"):
        assert ask(running.edge.edge, "group.example.com", path) == (400, ""), path
    failure = eventually("it", lambda: failures(running.edge, "group.example.com"))[0]
    assert failure["reason"] == "bad-request"
    assert "the path that was made has `.` or `..`" in json.dumps(failure).lower()


def test_a_gateway_asks_for_another_host(running: Running) -> None:
    with http1.server(lambda request: Answer(200, sized(told := told_host(request)), told)) as app:
        service = running.service(app.address)
        for name, path, host in [("fixed", "/*", "orders.internal:8080"), ("made", "/{tenant}/*", "{tenant}.internal")]:
            match = {"host": f"{name}.example.com", "path": path}
            rewrite = {"host": host}
            running.route({"name": f"{name}-{service}", "match": match, "rewrite": rewrite, "to": {"service": service}})
        edge = running.edge.edge
        assert ask(edge, "fixed.example.com", "/a") == (200, "orders.internal:8080 fixed.example.com /a")
        assert ask(edge, "made.example.com", "/Acme/a") == (200, "acme.internal made.example.com /Acme/a")
        assert ask(edge, "made.example.com", "/a%40b/a") == (400, "")


def told_host(request: Request) -> bytes:
    """The host that was asked for, that of the client, and the path."""
    return f"{request.host} {request.fields['x-forwarded-host']} {request.path}".encode()


def test_a_gateway_has_wildcard_hosts(running: Running, instances: Instances) -> None:
    service = running.service(instances.other)
    running.route({"name": f"wild-{service}", "match": {"host": "*.wild.example"}, "to": {"service": service}})
    assert ask(running.edge.edge, "a.wild.example") == (200, "other /")
    assert ask(running.edge.edge, "wild.example") == (404, "")


def test_an_app_that_needs_a_port_has_one(mesh: Mesh, instances: Instances) -> None:
    # A service asked for on its own port needs no name: the app was told "127.0.0.1:9191" and nothing of a mesh.
    port = free_port()
    mesh.document("services/orders", tls="disabled", endpoints=[{"address": instances.other}])
    mesh.document("services/web", upstreams=[{"service": "orders", "port": port}])
    web = mesh.sidecar("web", 1)
    assert web.listeners["upstream-orders"] == f"127.0.0.1:{port}"
    assert ask(f"127.0.0.1:{port}", f"127.0.0.1:{port}") == (200, "other /")
