"""One document: what a person writes becomes a model, or every mistake in it is told with its place."""

from datetime import timedelta
from decimal import Decimal

import pytest

from sidecar.config.load import MAX_BYTES, key_of, load
from sidecar.config.model import Gateway, Mesh, Service
from sidecar.errors import ConfigError, Problem
from tests.unit.documents import EDGE, MESH, ORDERS, problems_of


def only(problems: tuple[Problem, ...]) -> Problem:
    assert len(problems) == 1, "\n".join(map(str, problems))
    return problems[0]


def test_a_service_is_read() -> None:
    document = load("services/orders.yaml", ORDERS.encode())

    assert document.key == ("service", "orders")
    assert isinstance(document.model, Service)
    assert document.model.protocol == "grpc"
    assert document.model.endpoints[1].weight == 3
    assert document.model.subsets["v1"].where.matches({"version": "1"})
    assert [route.name for route in document.model.routes] == ["beta-testers", "canary"]
    assert document.model.routes[1].timeout == timedelta(seconds=5)
    assert document.model.timeout is None
    assert document.origin("routes", 1) == "services/orders.yaml:14:5"
    assert document.origin("subsets", "v2") == "services/orders.yaml:9:7"


def test_a_gateway_is_read() -> None:
    gateway = load("gateways/edge.yaml", EDGE.encode()).model

    assert isinstance(gateway, Gateway)
    assert str(gateway.listeners[0]) == "0.0.0.0:8443"
    assert gateway.routes[0].match.host == "shop.example.com"
    assert str(gateway.routes[0].match.path) == "/api/*"


def test_a_mesh_is_read_and_what_it_leaves_out_has_a_default() -> None:
    mesh = load("mesh.yaml", MESH.encode()).model

    assert isinstance(mesh, Mesh)
    assert mesh.trust_domain == "shop.local"
    assert mesh.tracing.ratio == Decimal("0.05")
    assert mesh.connect_timeout == timedelta(seconds=5)
    assert mesh.retry.attempts == 3


def test_json_is_read_too_indented_by_tabs_as_well() -> None:
    document = load("services/web.json", b'{\n\t"protocol": "http",\n\t"endpoints": [{"address": "[::1]:80"}]\n}\n')

    assert isinstance(document.model, Service)
    assert document.model.endpoints[0].address == "[::1]:80"


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    problem = only(problems_of("\ufeffprotocol: http\r\ntimeot: 5s\r\n"))

    assert problem.place == "services/orders.yaml:2:1"
    assert problem.snippet == "2 | timeot: 5s\n  | ^^^^^^"


def test_an_unknown_field_is_shown_with_the_nearest_name() -> None:
    problem = only(problems_of("protocol: http\nroutes:\n  - name: a\n    timeot: 5s\n"))

    assert problem.place == "services/orders.yaml:4:5"
    assert problem.message == "unknown field `timeot`"
    assert problem.snippet == "4 |     timeot: 5s\n  |     ^^^^^^"
    assert "`timeout`" in problem.expected
    assert problem.hint == "did you mean `timeout`?"


def test_all_mistakes_are_told_at_once_in_the_order_of_the_lines() -> None:
    problems = problems_of("""\
        protocol: grcp
        enabled: no
        endpoints:
          - {address: localhost:21001, meta: {version: 1}}
        upstreams: [{service: Inventory, port: "9191"}]
        subsets:
          v1: {where: 'meta.version = "1"'}
        routes:
          - match: {methods: [get], headers: {X-Beta: "1"}, path: /api*}
            timeout: 5
        timeout:
        circuit_breaker: {max_requests: 0, max_pending: lots}
        circuit_breaker: {}
        """)

    assert [(problem.place.partition(":")[2], problem.message, problem.hint) for problem in problems] == [
        ("1:11", "`grcp` is not one of the choices", "did you mean `grpc`?"),
        ("2:10", "`no` is not true or false", "did you mean `false`?"),
        ("4:15", "`localhost` is not an IP address", ""),
        ("4:48", "`1` is not text", 'did you mean `"1"`, in quotes?'),
        ("5:23", "this is not a name: `Inventory`", "did you mean `inventory`?"),
        ("5:40", "`9191` is not a whole number", "did you mean `9191`, without quotes?"),
        ("7:29", "equality is written `==`", ""),
        ("9:5", "`name` is missing", ""),
        ("9:23", "this is not a method: `get`", "did you mean `GET`?"),
        ("9:39", "header names are written in lower case", "did you mean `x-beta`?"),
        ("9:63", "`*` stands only at the end, after `/`", "did you mean `/api/*`?"),
        ("10:14", "`5` has no unit", "did you mean `5s`?"),
        ("11:1", "`timeout` has no value", "give it a value, or remove the line"),
        ("13:1", "`circuit_breaker` stands here twice", "it is first in line 12"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate_limit: {requests: 200, match: {}}", "`match` is not supported yet"),
        ("plugins: []", "`plugins` is not supported yet"),
        ("protocol: udp", "`udp` is not supported yet"),
    ],
)
def test_what_is_not_carried_out_yet_is_refused_by_name(text: str, message: str) -> None:
    assert only(problems_of(text)).message == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("failures: {statuses: [600]}", "`600` is no status of HTTP"),
        ("failures: {statuses: [5xx]}", "`5xx` is no status of HTTP"),
        ("failures: {statuses: [599-500]}", "`599-500` ends before it begins"),
        ("failures: {grpc: [UNAVAILABLE]}", "`UNAVAILABLE` is not one of the choices"),
        ("failures: {grpc: [ok]}", "`ok` is not one of the choices"),
    ],
)
def test_a_failure_is_a_status_that_there_is(text: str, message: str) -> None:
    assert only(problems_of(text)).message == message


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("load_balancer: maglevs", "1:16", "`maglevs` is not one of the choices"),
        ("load_balancer: maglev", "1:16", "maglev needs `hash`: what decides where a request goes"),
        ("load_balancer: {policy: ring_hash}", "1:25", "ring_hash needs `hash`: what decides where a request goes"),
        (
            "load_balancer: {policy: random, choices: 3}",
            "1:42",
            "`choices` is about least_request, and this is random",
        ),
        ("load_balancer: {policy: least_request, choices: 1}", "1:49", "`1` is out of bounds"),
        ("load_balancer: {policy: maglev, hash: [{}]}", "1:40", "this names no part of a request"),
        (
            "load_balancer: {policy: maglev, hash: [{header: x-a, query: b}]}",
            "1:61",
            "`header` is named here already: one part has one source",
        ),
        ("load_balancer: {policy: maglev, hash: [{query: b, ttl: 1s}]}", "1:56", "`ttl` is about a cookie"),
        ("load_balancer: {policy: maglev, hash: [{cookie: a b}]}", "1:49", "this is no name of a cookie: `a b`"),
        (
            "load_balancer: {policy: maglev, hash: [{source: true}], slow_start: 1s}",
            "1:69",
            "a key goes to its endpoint at once: hashing has no slow start",
        ),
        (
            "load_balancer: {policy: ring_hash, hash: [{source: true}], min_ring_size: 9, max_ring_size: 8}",
            "1:75",
            "a ring of at least 9 points is larger than 8",
        ),
        ("failover: [{}]", "1:12", "this leads to nobody else"),
        ("failover: [{subset: v9}]", "1:21", "this service has no subset `v9`"),
    ],
)
def test_a_load_balancer_and_a_failover_make_sense(text: str, place: str, message: str) -> None:
    problem = only(problems_of(text))
    assert (problem.place.partition(":")[2], problem.message) == (place, message)


def test_what_is_about_requests_has_no_place_where_nobody_reads_them() -> None:
    document = """
        protocol: tcp
        timeout: 5s
        routes:
          - {name: all}
    """
    assert [(problem.place, problem.message) for problem in problems_of(document)] == [
        ("services/orders.yaml:3:10", "`timeout` is about requests, and with `protocol: tcp` nobody reads any"),
        ("services/orders.yaml:5:3", "`routes` is about requests, and with `protocol: tcp` nobody reads any"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "protocol: grpc\nidle_timeout: 5m",
            "`idle_timeout` is about connections of `protocol: tcp`, and this is grpc",
        ),
        ("protocol: tcp\nidle_timeout: 0s", "a connection that nobody ends would stay for ever"),
    ],
)
def test_how_long_a_connection_may_be_still_is_said_of_tcp_alone(text: str, message: str) -> None:
    assert only(problems_of(text)).message == message


def test_a_gateway_refuses_what_it_cannot_do_rather_than_ignoring_it() -> None:
    problems = problems_of(EDGE + "    transform: {}\n", "gateways/edge.yaml")

    assert [problem.message for problem in problems] == ["`transform` is not supported yet"]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("routes: [{name: a, to: {subset: v9}}]\nsubsets: {v1: {where: meta is empty}}", "1:33", "no subset `v9`"),
        ("subsets: {v1: {where: meta is empty}}\nroutes: [{name: a}, {name: a}]", "2:28", "`a` stands here twice"),
        ("routes: [{name: a, split: [{weight: 0, to: {subset: v1}}]}]", "1:27", "no branch"),
        ("routes: [{name: a, split: []}]", "1:27", "no branch"),
        ("routes: [{name: a, match: {methods: []}}]", "1:37", "an empty list matches nothing"),
        ("routes: [{name: a, match: {headers: {host: x}}}]", "1:38", "not matched as a header"),
        ("routes: [{name: a, match: {headers: {x: ' y'}}}]", "1:41", "no header can have this value"),
        ("routes: [{name: a b}]", "1:17", "not a route name"),
        ("endpoints: [{address: '10.0.0.1:80'}, {address: '10.0.0.1:80'}]", "1:49", "stands here twice"),
        ("endpoints: [{address: '10.0.0.1:0'}]", "1:23", "has no port"),
        ("endpoints: [{address: '::1:80'}]", "1:23", "brackets"),
        ("endpoints: [{address: '[10.0.0.1]:80'}]", "1:23", "brackets"),
        ("upstreams: [{service: a, port: 1}, {service: b, port: 1}]", "1:55", "`1` stands here twice"),
        ("upstreams: [{port: 1}]", "1:13", "an upstream has `service` or `query`"),
        ("upstreams: [{service: a, query: b, port: 1}]", "1:13", "an upstream has `service` or `query`"),
        ("upstreams: [{query: b, datacenter: c, port: 1}]", "1:36", "a prepared query says itself which datacenters"),
        ("retry: {attempts: 11}", "1:19", "out of bounds"),
        ("retry: {on: [200]}", "1:14", "`200` is nothing to try again for"),
        ("retry: {backoff: {base: 2s, max: 1s}}", "1:34", "the longest wait is shorter than the first one"),
        ("retry: {budget: 20}", "1:17", "`20` has no unit"),
        ("circuit_breaker: {failure_rate: 100%}", "1:33", "no rate is above this"),
        ("fault: {delay: {time: 2m}}", "1:23", "no test needs a delay like this"),
        ("fault: {abort: {status: 200}}", "1:25", "out of bounds"),
        ("outlier_detection: {ejection: 0s}", "1:31", "this must be longer than 0"),
        ("retry: 3", "1:8", "`3` is not a mapping of fields"),
        ("endpoints: {address: x}", "1:12", "a mapping is not a list"),
        ("subsets: {V1: {where: meta is empty}}", "1:11", "not a name"),
        ("subsets: {v1: {where: 5}}", "1:23", "not a condition"),
        ("enabled: 1", "1:10", "`1` is not true or false"),
        ("timeout: 5 seconds", "1:10", "not a duration"),
    ],
)
def test_mistakes_in_a_service_are_told(text: str, place: str, message: str) -> None:
    problem = only(problems_of(text))

    assert problem.place == f"services/orders.yaml:{place}"
    assert message in problem.message


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("routes: [{name: a}]", "1:10", "leads nowhere"),
        ("routes: [{name: a, to: {service: x}, split: [{weight: 1, to: {service: y}}]}]", "1:45", "not both"),
        ("routes: [{name: a, to: {service: x}, match: {host: 'X.com:80'}}]", "1:52", "not a host"),
        ("routes: [{name: a, to: {service: x}, match: {host: '*'}}]", "1:52", "not a host"),
        ("routes: [{name: a, to: {service: x}, match: {path: /a}, rewrite: {path: /*}}]", "1:73", "have a star"),
        ("routes: [{name: a, to: {service: x}, rewrite: {path: /b}}]", "1:54", "have a star"),
        ("listeners: [{port: 80}, {port: 80}]", "1:32", "0.0.0.0:80 stands here twice"),
        ("listeners: [{port: 65536}]", "1:20", "out of bounds"),
        ("listeners: [{port: 80, address: localhost}]", "1:33", "not an IP address"),
        ("listeners: [{port: 80, tls: {certificates: []}}]", "1:44", "needs a certificate"),
        ("listeners: [{port: 80, tls: {certificates: [{cert: a.pem}]}}]", "1:45", "`key` is missing"),
    ],
)
def test_mistakes_in_a_gateway_are_told(text: str, place: str, message: str) -> None:
    problem = only(problems_of(text, "gateways/edge.yaml"))

    assert problem.place == f"gateways/edge.yaml:{place}"
    assert message in problem.message


def test_a_host_with_a_port_gets_the_host_as_suggestion() -> None:
    text = "routes: [{name: a, to: {service: x}, match: {host: 'Shop.Example.com:8443'}}]"

    assert only(problems_of(text, "gateways/edge.yaml")).hint == "did you mean `shop.example.com`?"


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        (b"", "services/a.yaml", "the document is empty"),
        (b"# nothing but a comment\n", "services/a.yaml", "the document is empty"),
        (b"protocol: caf\xe9\n", "services/a.yaml:1:14", "byte 0xe9 is not UTF-8"),
        (b"\x7fELF\x02\x01\x01\x00", "services/a.yaml:1:1", "this character does not belong in a document"),
        (b"x" * (MAX_BYTES + 1), "services/a.yaml", "the document is too large"),
    ],
)
def test_what_is_no_document_at_all_is_told(data: bytes, place: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("services/a.yaml", data)

    assert (only(caught.value.problems).place, only(caught.value.problems).message) == (place, message)


@pytest.mark.parametrize("line", ["field-{}: 1", "timeout:"])
def test_of_very_many_mistakes_the_first_hundred_are_told(line: str) -> None:
    text = "\n".join(line.format(number) for number in range(5000))
    problems = problems_of(text)

    assert len(problems) == 101
    assert problems[0].place == "services/orders.yaml:1:1"
    assert problems[-1].message in {
        "there are 4900 problems more",
        "there are too many problems: the rest was not read",
    }


@pytest.mark.parametrize(
    ("place", "message", "hint"),
    [
        ("services/orders.yml", "a document ends with .yaml or .json", "did you mean `services/orders.yaml`?"),
        ("service/orders.yaml", "this is not a place of a document", "did you mean `services`?"),
        ("meshh.yaml", "this is not a document", "did you mean `mesh`?"),
        ("services/Orders_1.yaml", "this is not a name of a service: `Orders_1`", ""),
        ("services/app.yaml", "`app` names the application beside a sidecar", ""),
        ("consumers/Ann.yaml", "this is not a name of a consumer: `Ann`", ""),
        ("plugins/auth.yaml", "documents under `plugins` are not supported yet", ""),
        ("services/a/b.yaml", "this is not a place of a document", "did you mean `services`?"),
        ("services/\x1b[2J.yaml", "this file name cannot be printed", ""),
    ],
)
def test_a_file_in_a_wrong_place_is_told(place: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        key_of(place)

    problem = only(caught.value.problems)
    assert (problem.message, problem.hint) == (message, hint)
    assert problem.place.isprintable()
