"""Paths with parameters and expressions in matches, and what a gateway's route makes of them."""

import pytest

from sidecar.config.load import load
from sidecar.config.model import Gateway
from sidecar.errors import Problem
from sidecar.snapshot import GatewayRole, SidecarRole, compile
from sidecar.wire import snapshot_pb2 as wire
from tests.unit.documents import problems_of, world_of

ORDERS = "endpoints: [{address: 127.0.0.1:21001}]\n"


def only_problem(match: str, rewrite: str) -> Problem:
    """Of a route in whose document the match stands in line 3 and the rewrite in line 4, from column 12 and 14."""
    text = f"routes:\n  - name: a\n    match: {match}\n    rewrite: {rewrite}\n    to: {{service: x}}\n"
    (problem,) = problems_of(text, "gateways/edge.yaml")
    return problem


def compiled(match: str, rewrite: str = "", service: str = ORDERS) -> list[wire.Route]:
    """The routes of the data plane."""
    changed = f", rewrite: {rewrite}" if rewrite else ""
    edge = f"listeners: [{{port: 0}}]\nroutes: [{{name: a, match: {match}, to: {{service: orders}}{changed}}}]\n"
    world = world_of({"services/orders.yaml": service, "gateways/edge.yaml": edge})
    (table,) = compile(world, GatewayRole("edge"), 1).route_tables
    return list(table.routes)


@pytest.mark.parametrize(
    ("match", "rewrite", "place", "message", "hint"),
    [
        ("{path: '/users/{user}'}", "{path: '/v2/{usr}'}", "4:26", "the match has no parameter `usr`",
         "did you mean `user`?"),
        ("{path: '/users/{id}'}", "{path: '/v2/*'}", "4:21",
         "the rewrite and the match both have a star, or neither", ""),
        ("{path: '/a/{r=**}'}", "{path: '/v2'}", "4:21", "the rewrite and the match both have a star, or neither", ""),
        ("{path: '/a/{r=**}'}", "{path: '/{r}/x'}", "4:21", "`{r}` is many segments", ""),
        ("{path: '/a/{r=**}'}", "{path: '/x/{r=**}'}", "4:21", "`**` is said in the match", ""),
        ("{path_regex: '/(?P<id>.*)'}", "{path: '/*'}", "4:21", "`path_regex` has no star", ""),
        ("{path_regex: '/(.*)'}", "{path: '/{id}'}", "4:23", "the match has no parameter `id`", ""),
        ("{path: /a}", "{}", "4:14", "this changes nothing", ""),
        ("{path: /a}", "{path: /b, regex: {pattern: a, substitution: b}}", "4:32",
         "`path` is said already, and both change the path", ""),
        ("{path: /a}", "{regex: {pattern: 'a(', substitution: b}}", "4:34",
         "this is no regular expression that is matched in linear time: missing ), unterminated subpattern", ""),
        ("{path: /a}", r"{regex: {pattern: a(b), substitution: '/\1/\2'}}", "4:57", "the pattern has no group 2", ""),
        ("{path: /a}", "{regex: {pattern: a, substitution: '/b?c'}}", "4:52", "`?` does not belong in a path", ""),
        ("{path: /a}", "{regex: {pattern: a, substitution: '/%7e'}}", "4:49",
         "escapes are undone or written in capitals in paths", "did you mean `/~`?"),
        ("{path: /a}", "{host: A.example}", "4:21", "this is not a host: `A.example`", "did you mean `a.example`?"),
        ("{path: /a}", "{host: 'a.example/b'}", "4:21", "this is not a host: `a.example/b`", ""),
        ("{path: '/{t}'}", "{host: '{u}.a.example'}", "4:21", "the match has no parameter `u`", ""),
    ],
)  # fmt: skip
def test_a_rewrite_that_cannot_be_made_is_refused(
    match: str, rewrite: str, place: str, message: str, hint: str
) -> None:
    problem = only_problem(match, rewrite)
    assert (problem.message, problem.hint) == (message, hint)
    assert problem.place == f"gateways/edge.yaml:{place}"


@pytest.mark.parametrize(
    ("match", "place", "message"),
    [
        ("{path: /a, path_regex: /b}", "2:36", "`path` is said already"),
        ("{path_regex: /b, grpc: {service: a.B}}", "2:36",
         "`path_regex` is said already, and a call's path is its method"),
        ("{path_regex: '/v(?=1)'}", "2:29", "this is no regular expression that is matched in linear time: `(?=` is "
         "not known to all engines of the linear kind"),
        ("{path: '/a/{b}c'}", "2:24", "`{b}c` is not a parameter"),
    ],
)  # fmt: skip
def test_a_path_that_cannot_be_matched_is_refused(match: str, place: str, message: str) -> None:
    (problem,) = problems_of(f"routes:\n  - {{match: {match}, name: a}}\n")
    assert (problem.message, problem.place) == (message, f"services/orders.yaml:{place}")


def test_what_was_written_is_written_again() -> None:
    text = """\
routes:
  - name: a
    match: {path: "/users/{id}/{rest=**}"}
    rewrite: {path: "/{id}/*", host: "{id}.internal:8080"}
    to: {service: x}
  - {name: b, match: {path_regex: "/v(?P<v>[0-9]+)"}, rewrite: {path: "/{v}"}, to: {service: x}}
  - {name: c, rewrite: {regex: {pattern: "a(b)", substitution: '\\1'}}, to: {service: x}}
"""
    model = load("gateways/edge.yaml", text.encode()).model
    assert isinstance(model, Gateway)
    written = model.model_dump_json(exclude_unset=True)
    assert '"path":"/users/{id}/{rest=**}"' in written
    assert load("gateways/edge.yaml", written.encode()).model == model


def test_a_template_and_its_parameters_go_to_the_data_plane() -> None:
    (route,) = compiled("{path: '/users/{id}/{rest=**}'}", "{path: '/v2/{id}/{rest}', host: '{id}.internal'}")
    assert route.match.path.template_prefix == "/users/{}"
    assert [(item.name, item.segment, item.rest) for item in route.match.parameters] == [("id", 1, 0), ("rest", 0, 2)]
    assert (route.rewrite.template, route.rewrite.replaced) == ("/v2/{id}", 2)
    assert route.rewrite_host == "{id}.internal"


def test_an_expression_and_its_groups_go_to_the_data_plane() -> None:
    (route,) = compiled("{path_regex: '/v(?P<v>[0-9]+)/.*'}", "{path: '/{v}'}")
    assert (list(route.match.path_regexes), route.match.parameters[0].name) == (["/v(?P<v>[0-9]+)/.*"], "v")
    assert (route.rewrite.template, route.rewrite.HasField("replaced")) == ("/{v}", False)

    (route,) = compiled("{path: /api/*}", r"{regex: {pattern: '/v([0-9]+)', substitution: '/\1'}}")
    assert (route.rewrite.regex, route.rewrite.substitution) == ("/v([0-9]+)", r"/\1")


def test_the_host_is_changed_for_all_of_the_services_routes() -> None:
    service = ORDERS + "routes: [{name: b, match: {path: '/users/{who}/orders'}}]\n"
    first, second = compiled("{path: '/users/{id}/*'}", "{host: orders.internal}", service)
    assert (first.name, first.match.path.template, first.rewrite_host) == ("a/b", "/users/{}/orders", "orders.internal")
    assert [item.name for item in first.match.parameters] == ["id"]
    assert (second.name, second.rewrite_host, second.HasField("rewrite")) == ("a", "orders.internal", False)


def test_a_preflight_is_of_the_same_paths() -> None:
    edge = (
        "listeners: [{port: 0}]\nroutes: [{name: a, match: {path_regex: '/v[0-9]'}, to: {service: orders}, "
        "cors: {allow_origins: ['*']}}]\n"
    )
    world = world_of({"services/orders.yaml": ORDERS, "gateways/edge.yaml": edge})
    (table,) = compile(world, GatewayRole("edge"), 1).route_tables
    assert [(route.preflight, list(route.match.path_regexes)) for route in table.routes] == [
        (True, ["/v[0-9]"]),
        (False, ["/v[0-9]"]),
    ]


def test_a_rule_about_callers_has_templates() -> None:
    service = ORDERS + "allow: [{from: web, path: '/users/{id}/*'}]\n"
    snapshot = compile(world_of({"services/orders.yaml": service}), SidecarRole("orders"), 1)
    (inbound,) = (listener for listener in snapshot.listeners if listener.name == "inbound")
    (rule,) = inbound.authorization.rule_sets[0].rules
    assert rule.condition.path.template_prefix == "/users/{}"


def test_a_redirect_has_no_parameters_but_its_match_may() -> None:
    text = "routes: [{{name: a, match: {{{match}}}, redirect: {{path: '{path}'}}}}]\n"
    (problem,) = problems_of(text.format(match="path: '/a/{id}'", path="/b/{id}"), "gateways/edge.yaml")
    assert (problem.message, problem.place) == ("parameters do not stand here", "gateways/edge.yaml:1:67")
    (problem,) = problems_of(text.format(match="path_regex: '/a.*'", path="/b/*"), "gateways/edge.yaml")
    assert problem.message == "the path of the match has no star"
    load("gateways/edge.yaml", text.format(match="path: '/a/{id}/*'", path="/b/*").encode())
