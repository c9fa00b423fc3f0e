"""From where a gateway's document lets requests come, what they must be like, and how many they may be."""

import pytest

from sidecar.config.load import load
from sidecar.config.model import Gateway
from sidecar.config.model.gateway import GatewayRoute
from sidecar.errors import Problem
from sidecar.snapshot import KeyFiles
from tests.unit.documents import problems_of

KEYS = "authenticate: [{key: {}}]"


def edge(route: str = "", rest: str = "") -> str:
    return f"{rest and rest + chr(10)}routes:\n  - {{name: all, to: {{service: orders}}{route and ', ' + route}}}\n"


def gateway(route: str = "", rest: str = "") -> Gateway:
    model = load("gateways/edge.yaml", edge(route, rest).encode()).model
    assert isinstance(model, Gateway)
    return model


def route(text: str) -> GatewayRoute:
    return gateway(text).routes[0]


def only(problems: tuple[Problem, ...]) -> Problem:
    (problem,) = problems
    return problem


def test_a_list_of_sources_takes_networks_and_addresses() -> None:
    sources = gateway(rest="sources: {allow: [10.0.0.0/8, '::1', 192.0.2.7], deny: ['2001:db8::/32']}").sources

    assert sources is not None
    assert sources.allow == ("10.0.0.0/8", "::1/128", "192.0.2.7/32")
    assert sources.deny == ("2001:db8::/32",)
    assert route("sources: {deny: [10.0.0.0/8]}").sources is not None


def test_files_are_all_that_a_gateway_and_its_routes_name() -> None:
    model = gateway(
        "sources: {allow_files: [/etc/office.txt], deny_files: [b.txt]}", "sources: {deny_files: [a.txt, b.txt]}"
    )

    assert KeyFiles.of(model).lists == {"/etc/office.txt", "a.txt", "b.txt"}


def test_a_route_says_how_many_it_takes_and_by_what_they_count() -> None:
    limit = route(
        f"{KEYS}, rate_limit: {{requests: 5, per: 1m, by: [consumer, group, source, {{claim: sub}}, {{header: x-a}}]}}"
    ).rate_limit

    assert limit is not None
    assert (limit.requests, limit.per.total_seconds(), limit.burst, limit.needs_caller) == (5, 60, None, True)
    plain = gateway(rest="rate_limit: {requests: 5, by: [source, method]}").rate_limit
    assert plain is not None
    assert not plain.needs_caller
    assert plain.algorithm == "token_bucket"
    sliding = route(f"{KEYS}, rate_limit: {{requests: 5, by: [group], algorithm: sliding_window}}").rate_limit
    assert sliding is not None
    assert (sliding.algorithm, sliding.needs_caller) == ("sliding_window", True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sources: {deny: [10.0.0.1/8]}", "this is not a network: `10.0.0.1/8` (10.0.0.1/8 has host bits set)"),
        ("sources: {allow: [localhost]}", "this is not a network: `localhost`"),
        ("sources: [10.0.0.0/8]", "a list is not a mapping of fields"),
        ("sources: {deny_files: [blocked.yaml]}", "a file of this name would be taken for a document"),
        ("methods: []", "an empty list matches nothing"),
        ("methods: [get]", "this is not a method: `get`"),
        ("content_types: []", "an empty list takes no content"),
        ("content_types: [json]", "this is no type of content: `json`"),
        ("content_types: ['*/*']", "this is no type of content: `*/*`"),
        ("content_types: [application/json; charset=utf-8]", "this is no type of content"),
        ("rate_limit: {requests: 5, by: [consumer]}", "nobody is asked who calls"),
        ("rate_limit: {requests: 5, by: [{claim: sub}]}", "nobody is asked who calls"),
        ("rate_limit: {requests: 5, by: [group]}", "nobody is asked who calls"),
        ("rate_limit: {requests: 5, algorithm: sliding_window, burst: 9}", "a sliding window has no burst"),
        ("authenticate: [], rate_limit: {requests: 5, by: [consumer]}", "nobody is asked who calls"),
        ("allow: [{groups: [a]}]", "nobody is asked who calls"),
        ("rate_limit: {requests: 0}", "`0` is out of bounds"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(text: str, message: str) -> None:
    problem = only(problems_of(edge(text), "gateways/edge.yaml"))

    assert problem.message.startswith(message), problem
    assert problem.place.startswith("gateways/edge.yaml:2:")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("proxy_protocol: {}", "`trusted` is missing"),
        ("proxy_protocol: true", "`true` is not a mapping of fields"),
        ("proxy_protocol: {trusted: []}", "an empty list refuses every connection"),
        ("proxy_protocol: {trusted: [10.0.0.1/8]}", "this is not a network: `10.0.0.1/8`"),
        ("proxy_protocol: {trusted: [10.0.0.0/8], version: 2}", "unknown field `version`"),
        ("health_path: healthz", "a path begins with `/`"),
        ("health_path: /health/*", "this is one path"),
        ("health_path: /a?b", "`?` does not belong in a path"),
    ],
)
def test_a_balancer_is_told_of_in_full(text: str, message: str) -> None:
    problem = only(problems_of(f"listeners:\n  - {{port: 80, {text}}}\n", "gateways/edge.yaml"))

    assert problem.message.startswith(message), problem
    assert problem.place.startswith("gateways/edge.yaml:2:")


def test_rules_about_callers_need_somebody_who_asks() -> None:
    by_consumer = "rate_limit: {requests: 5, by: [consumer]}"
    assert gateway(by_consumer, rest=KEYS).routes[0].rate_limit is not None
    assert gateway(KEYS, rest=by_consumer).rate_limit is not None
    assert gateway("allow: []").routes[0].allow == (), "nobody may, whoever it is"

    problem = only(problems_of(edge(rest=by_consumer), "gateways/edge.yaml"))
    assert problem.message == "nobody is asked who calls"
    assert problem.expected == "`authenticate` of the route or the gateway"
    assert problem.place.startswith("gateways/edge.yaml:1:")


def test_services_count_by_no_consumer() -> None:
    problems = problems_of("rate_limit: {requests: 5, by: [consumer]}\n", "services/orders.yaml")
    assert problems
    assert all("consumer" in problem.message for problem in problems)
