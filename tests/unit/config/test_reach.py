"""Routes that no request reaches are refused, at the place that makes them so."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.load import load
from sidecar.config.model.path import PathPattern, below_root
from sidecar.config.model.reach import Reached, unreached
from sidecar.config.model.route import Match
from tests.unit.documents import problems_of


def edge(first: str, second: str) -> str:
    """Two routes; the match of the second stands in line 3 from column 24."""
    return f"""\
routes:
  - {{name: first, match: {first}, to: {{service: x}}}}
  - {{name: other, match: {second}, to: {{service: x}}}}
"""


@pytest.mark.parametrize(
    ("first", "second", "column"),
    [
        ("{}", "{}", 12),
        ("{}", "{host: a.example, methods: [GET]}", 12),
        ("{path: /a}", "{path: /a}", 33),
        ("{path: /a/*}", "{path: /a/b/c}", 33),
        ("{path: /a/*}", "{path: '/a/{id}/*'}", 33),
        ("{path: '/a/{id}'}", "{path: /a/b}", 33),
        ("{path: '/a/{id}'}", "{path: '/a/{other}'}", 33),
        ("{path: '/{x}/*'}", "{path: /a/b/*}", 33),
        ("{}", "{path_regex: '/v[0-9]'}", 39),
        ("{path: /a.B/*}", "{grpc: {service: a.B}}", 33),
        ("{host: '*.example'}", "{host: a.example, path: /x}", 50),
        ("{host: '*.example'}", "{host: '*.a.example'}", 12),
        ("{path: /a/*, methods: [GET, PUT]}", "{path: /a/b, methods: [PUT, GET]}", 33),
        ("{headers: {x-a: '1'}}", "{headers: {x-a: '1'}, path: /a}", 54),
    ],
)
def test_a_route_behind_one_that_takes_all_of_it_is_refused(first: str, second: str, column: int) -> None:
    (problem,) = problems_of(edge(first, second), "gateways/edge.yaml")
    assert problem.message.startswith("no request comes here: `first`, which stands before, takes all of them (")
    assert problem.hint == "move it before `first`, or take it out"
    assert problem.place == f"gateways/edge.yaml:3:{column}"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{path: /a}", "{path: /a/*}"),
        ("{path: /a}", "{path: /a/}"),
        ("{path: /a/b}", "{path: '/a/{id}'}"),
        ("{path: '/a/{id}'}", "{path: '/a/{id}/*'}"),
        ("{path: '/a/{id}'}", "{path: /a/}"),
        ("{path_regex: '/.*'}", "{path: /a}"),
        ("{host: a.example}", "{}"),
        ("{host: '*.example'}", "{host: example}"),
        ("{host: '*.example', path: /a/*}", "{path: /a}"),
        ("{methods: [GET]}", "{methods: [GET, PUT]}"),
        ("{query: {a: '1'}}", "{query: {a: '2'}}"),
        ("{source: [10.0.0.0/8]}", "{}"),
        ("{grpc: {service: a.B}}", "{path: /a.B/C}"),
    ],
)
def test_what_is_left_of_another_is_reached(first: str, second: str) -> None:
    load("gateways/edge.yaml", edge(first, second).encode())


def test_a_route_that_is_disabled_takes_nothing() -> None:
    load("gateways/edge.yaml", edge("{}", "{}").replace("name: first,", "name: first, enabled: false,").encode())
    load("gateways/edge.yaml", edge("{}", "{}").replace("name: other,", "name: other, enabled: false,").encode())


def test_routes_of_a_service_are_looked_at_too() -> None:
    (problem,) = problems_of("routes:\n  - {name: all}\n  - {name: api, match: {path: /api/*}}\n")
    assert problem.message == "no request comes here: `all`, which stands before, takes all of them (every path)"
    assert problem.place == "services/orders.yaml:3:31"


segments = st.lists(st.sampled_from(["a", "b", "{}", ""]), max_size=3).map(below_root)
patterns = st.builds(PathPattern, segments, st.just(True)) | st.builds(
    PathPattern, segments.map(lambda base: base or "/"), st.just(False)
)


@given(st.lists(patterns, max_size=6))
def test_those_and_only_those_are_found_that_one_route_covers(paths: list[PathPattern]) -> None:
    routes = [Reached(index, f"r{index}", "", Match(path=path)) for index, path in enumerate(paths)]
    found = {place[0] for place, _, _ in unreached(routes)}
    covered = {
        index for index, path in enumerate(paths) if any(path.meet(earlier) == path for earlier in paths[:index])
    }
    assert found == covered


def test_many_routes_are_compared_with_few_others_each() -> None:
    # 20 000 in a square would be 200 million comparisons, a minute.
    paths = [PathPattern(f"/{number % 7}/{{}}/{number}", star=number % 2 == 0) for number in range(20_000)]
    began = time.process_time()
    routes = (Reached(index, f"r{index}", "a.example", Match(path=path)) for index, path in enumerate(paths))
    assert list(unreached(routes)) == []
    assert time.process_time() - began < 20
