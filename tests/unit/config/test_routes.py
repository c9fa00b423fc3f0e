"""What a route's match asks of values, clients and calls, and the headers that a route changes."""

import pytest

from sidecar.config.load import load
from sidecar.config.model import Gateway, Service
from sidecar.config.model.header_modifier import HeaderModifier
from sidecar.config.model.value_match import ValueMatch
from sidecar.errors import Problem
from sidecar.snapshot import GatewayRole, SidecarRole, compile
from sidecar.wire import snapshot_pb2 as wire
from tests.unit.documents import problems_of, world_of


def only_problem(match: str) -> Problem:
    (problem,) = problems_of(f"routes: [{{name: a, match: {match}}}]")
    return problem


def only_problem_of_changes(changes: str) -> Problem:
    (problem,) = problems_of(f"routes:\n  - name: a\n    request_headers: {changes}\n")
    return problem


def test_a_value_is_written_by_itself_or_by_what_it_has_to_be() -> None:
    text = """\
routes:
  - name: a
    match:
      headers: {x-a: "1", x-b: {prefix: b}}
      query: {page: {regex: "[0-9]+"}, Sort: {present: true}}
      cookies: {session: {present: false}}
      source: [10.0.0.0/8, "fd00::/8"]
"""
    document = load("services/orders.yaml", text.encode())

    assert isinstance(document.model, Service)
    match = document.model.routes[0].match
    assert match.headers == {"x-a": ValueMatch(exact="1"), "x-b": ValueMatch(prefix="b")}
    assert match.query == {"page": ValueMatch(regex="[0-9]+"), "Sort": ValueMatch(present=True)}
    assert match.cookies == {"session": ValueMatch(present=False)}
    assert match.source == ("10.0.0.0/8", "fd00::/8")
    written = document.model.model_dump_json(exclude_unset=True)
    assert '"x-a":"1"' in written
    assert load("services/orders.yaml", written.encode()).model == document.model


@pytest.mark.parametrize(
    ("match", "place", "message"),
    [
        ("{headers: {x-a: 1}}", "1:43", "`1` is not text"),
        ("{headers: {x-a: {}}}", "1:43", "this says nothing of the value"),
        ("{headers: {x-a: {exact: a, prefix: b}}}", "1:62", "`exact` is said here already"),
        ("{headers: {x-a: {exactly: a}}}", "1:44", "unknown field `exactly`"),
        ("{headers: {x-a: ' y'}}", "1:43", "no header can have this value"),
        (
            "{query: {page: {regex: '(?=a)'}}}",
            "1:50",
            "this is no regular expression that is matched in linear time: "
            "`(?=` is not known to all engines of the linear kind",
        ),
        ("{query: {'a=b': x}}", "1:36", "this is no name of a parameter: `a=b`"),
        ("{query: {page: 'a b'}}", "1:42", "` ` is never in the value of a parameter as requests write it"),
        ("{query: {page: {prefix: 'a&b'}}}", "1:42", "`&` is never in the value of a parameter as requests write it"),
        ("{cookies: {'a b': x}}", "1:38", "this is no name of a cookie: `a b`"),
        ("{cookies: {a: 'x;y'}}", "1:41", "`;` is never in the value of a cookie as requests write it"),
        ("{source: []}", "1:36", "an empty list matches nobody"),
        ("{source: [10.0.0.1/8]}", "1:37", "this is not a network: `10.0.0.1/8` (10.0.0.1/8 has host bits set)"),
        ("{grpc: {method: Get}}", "1:34", "`service` is missing"),
        ("{grpc: {service: a/b}}", "1:44", "this is no service of gRPC: `a/b`"),
        ("{path: /a, grpc: {service: a.B}}", "1:44", "`path` is said already, and a call's path is its method"),
    ],
)
def test_what_no_request_has_is_refused(match: str, place: str, message: str) -> None:
    problem = only_problem(match)

    assert (problem.message, problem.place) == (message, f"services/orders.yaml:{place}")


def test_a_number_is_put_in_quotes() -> None:
    assert only_problem("{query: {page: 1}}").hint == 'did you mean `"1"`, in quotes?'


@pytest.mark.parametrize(
    "name",
    [
        *("connection", "content-length", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    ],
)
def test_what_frames_a_message_is_not_changed(name: str) -> None:
    for changes in (f"{{set: {{{name}: x}}}}", f"{{add: {{{name}: x}}}}", f"{{remove: [{name}]}}"):
        problem = only_problem_of_changes(changes)
        assert problem.message == f"`{name}` is of a connection or frames a message, and the proxy writes it itself"
        assert problem.place.startswith("services/orders.yaml:3:")


@pytest.mark.parametrize(
    "name",
    [
        *("forwarded", "traceparent", "tracestate", "x-request-id", "x-forwarded-for", "x-forwarded-client-cert"),
        *(
            "x-envoy-expected-rq-timeout-ms",
            "x-sidecar-reason",
            "grpc-status",
            "grpc-timeout",
            "grpc-retry-pushback-ms",
        ),
    ],
)
def test_what_the_mesh_writes_is_not_changed(name: str) -> None:
    message = only_problem_of_changes(f"{{remove: [{name}]}}").message
    assert message == f"`{name}` is what proxies tell each other, and the proxy writes it itself"


@pytest.mark.parametrize(
    ("changes", "place", "message", "hint"),
    [
        ("{set: {host: a}}", "3:29", "the host is not changed as a header", ""),
        ("{set: {':path': a}}", "3:29", "this is not a header name: `:path`", ""),
        ("{set: {X-A: a}}", "3:29", "header names are written in lower case", "did you mean `x-a`?"),
        ("{add: {x-a: ''}}", "3:34", "no header can have this value", ""),
        ("{set: {x-a: '1'}, add: {x-a: '2'}}", "3:51", "`x-a` stands in `set` already: one thing can be done to it "
         "here", ""),
        ("{add: {x-a: '1'}, remove: [x-a]}", "3:49", "`x-a` stands in `add` already: one thing can be done to it "
         "here", ""),
        ("{append: {x-a: '1'}}", "3:23", "unknown field `append`", ""),
    ],
)  # fmt: skip
def test_a_change_that_cannot_be_made_is_refused(changes: str, place: str, message: str, hint: str) -> None:
    problem = only_problem_of_changes(changes)

    assert (problem.message, problem.hint) == (message, hint)
    assert problem.place == f"services/orders.yaml:{place}"


SERVICE = """\
subsets: {v1: {where: 'meta.v == "1"'}, v2: {where: 'meta.v == "2"'}}
routes:
  - name: canary
    match: {query: {beta: {present: true}}, source: [10.0.0.0/8]}
    split:
      - {weight: 9, to: {subset: v1}}
      - weight: 1
        to: {subset: v2}
        request_headers: {set: {x-way: v2}}
        response_headers: {remove: [server]}
    request_headers: {add: {x-way: canary}, remove: [x-debug]}
"""
GATEWAY = """\
listeners: [{port: 0}]
routes:
  - {name: shop, to: {service: orders}, request_headers: {set: {x-way: shop}}, response_headers: {add: {x-edge: "1"}}}
"""


def told(changes: object) -> list[str]:
    """ "set x-a=1", "remove x-b"."""
    assert isinstance(changes, list)
    kinds = [(change, change.WhichOneof("kind")) for change in changes]
    return [f"{kind} {change.name}{'' if kind == 'remove' else '=' + getattr(change, kind)}" for change, kind in kinds]


def test_changes_go_to_each_way_of_a_route_those_of_the_way_first() -> None:
    world = world_of({"services/orders.yaml": SERVICE, "gateways/edge.yaml": GATEWAY})
    routes = {
        (table.name, route.name): route
        for role in (SidecarRole("web"), GatewayRole("edge"))
        for table in compile(world, role, 1).route_tables
        for route in table.routes
    }

    own = routes["outbound", "orders/canary"].destinations
    assert [told(list(to.request_headers)) for to in own] == [
        ["remove x-debug", "add x-way=canary"],
        ["set x-way=v2", "remove x-debug", "add x-way=canary"],
    ]
    assert [told(list(to.response_headers)) for to in own] == [[], ["remove server"]]
    below = routes["edge", "shop/canary"].destinations
    assert told(list(below[1].request_headers)) == [
        "set x-way=v2",
        "remove x-debug",
        "add x-way=canary",
        "set x-way=shop",
    ]
    assert told(list(below[1].response_headers)) == ["remove server", "add x-edge=1"]
    (whole,) = routes["edge", "shop"].destinations
    assert told(list(whole.request_headers)) == ["set x-way=shop"]
    (inbound,) = routes["outbound", "orders"].destinations
    assert (list(inbound.request_headers), list(inbound.response_headers)) == ([], [])


def test_a_match_is_carried_out() -> None:
    world = world_of({"services/orders.yaml": SERVICE})
    (found,) = [
        route
        for table in compile(world, SidecarRole("web"), 1).route_tables
        for route in table.routes
        if route.name == "orders/canary"
    ]

    assert list(found.match.query) == [wire.ValueMatch(name="beta", present=True)]
    assert list(found.match.sources) == ["10.0.0.0/8"]


def test_an_answer_is_changed_by_a_gateways_route() -> None:
    document = load("gateways/edge.yaml", GATEWAY.encode())

    assert isinstance(document.model, Gateway)
    assert document.model.routes[0].response_headers == HeaderModifier(add={"x-edge": "1"})
