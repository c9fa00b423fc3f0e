"""A gateway's match and a service's match become one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.load import load
from sidecar.config.model import Gateway
from sidecar.config.model.gateway import GatewayRoute
from sidecar.config.model.path import ALL_PATHS, ANY, Parameter, PathPattern, below_root, parse_path
from sidecar.config.model.rewrite import PathSubstitution
from sidecar.config.model.route import Match
from sidecar.snapshot.scope import Scope
from sidecar.wire import snapshot_pb2 as wire


def asked(**fields: object) -> Match:
    """A match as a document has it."""
    return Match.model_validate(fields)


def paths_of(scope: Scope, inner: str) -> list[tuple[str, str | None]]:
    """The matches as (path, rewritten to), a star standing for a prefix."""
    return [
        (_path_of(match), rewrite.prefix if rewrite else None)
        for match, rewrite in scope.narrowed(Match(path=parse_path(inner)))
    ]


def _path_of(match: wire.Match) -> str:
    if not match.HasField("path"):
        return "*"
    kind = match.path.WhichOneof("kind") or ""
    return str(getattr(match.path, kind)) + ("*" if kind.endswith("prefix") else "")


def outer(path: str | None = None, rewrite: str | None = None) -> Scope:
    return Scope(match=Match(path=parse_path(path) if path else None), rewrite=parse_path(rewrite) if rewrite else None)


@pytest.mark.parametrize(
    ("scope", "inner", "expected"),
    [
        (outer(), "/api/*", [("/api*", None)]),
        (outer(), "/*", [("*", None)]),
        (outer("/api/*"), "/*", [("/api*", None)]),
        (outer("/api/*"), "/api/v1/*", [("/api/v1*", None)]),
        (outer("/api/*"), "/api", [("/api", None)]),
        (outer("/api/*"), "/other/*", []),
        (outer("/api"), "/api/*", [("/api", None)]),
        # The service's paths are those after the rewrite, the client's are those before it.
        (outer("/api/*", "/*"), "/*", [("/api*", "/")]),
        (outer("/api/*", "/*"), "/items/*", [("/api/items*", "/items")]),
        (outer("/api/*", "/*"), "/items", [("/api/items", "/items")]),
        (outer("/api/*", "/*"), "/", [("/api/", "/"), ("/api", "/")]),
        (outer("/api/*", "/v2/*"), "/*", [("/api*", "/v2")]),
        (outer("/api/*", "/v2/*"), "/v2/items/*", [("/api/items*", "/v2/items")]),
        (outer("/api/*", "/v2/*"), "/items/*", []),
        (outer("/old", "/new"), "/new", [("/old", "/new")]),
        (outer("/old", "/new"), "/old", []),
        (outer(None, "/v2/*"), "/v2/items", [("/items", "/v2/items")]),
        (outer(None, "/v2/*"), "/*", [("/*", "/v2")]),
    ],
)
def test_paths_meet_through_the_rewrite(scope: Scope, inner: str, expected: list[tuple[str, str | None]]) -> None:
    assert paths_of(scope, inner) == expected


def test_methods_that_both_name_are_left() -> None:
    scope = Scope(match=Match(methods=("GET", "PUT")))

    assert [list(match.methods) for match, _ in scope.narrowed(Match(methods=("PUT", "POST")))] == [["PUT"]]
    assert list(scope.narrowed(Match(methods=("POST",)))) == []


def test_headers_of_both_must_match_and_cannot_contradict() -> None:
    scope = Scope(hosts=("shop.example.com",), match=asked(headers={"x-beta": "1"}))

    ((match, _),) = scope.narrowed(asked(headers={"x-team": "a"}))
    assert [(header.name, header.exact) for header in match.headers] == [("x-beta", "1"), ("x-team", "a")]
    assert list(match.hosts) == ["shop.example.com"]
    assert list(scope.narrowed(asked(headers={"x-beta": "2"}))) == []


@pytest.mark.parametrize("field", ["headers", "query", "cookies"])
def test_values_of_both_must_match(field: str) -> None:
    scope = Scope(match=asked(**{field: {"a": {"prefix": "1"}, "b": "2"}}))

    ((match, _),) = scope.narrowed(asked(**{field: {"a": {"regex": "[0-9]+"}, "b": {"present": True}}}))
    told = [(value.name, value.WhichOneof("kind")) for value in getattr(match, field)]
    assert told == [("a", "prefix"), ("b", "exact"), ("a", "regex"), ("b", "present")]
    assert list(scope.narrowed(asked(**{field: {"b": "3"}}))) == []
    assert scope.covered_by(asked(**{field: {"b": "2"}}))
    assert not scope.covered_by(asked(**{field: {"b": {"present": True}}}))


@pytest.mark.parametrize(
    ("outer", "inner", "met"),
    [
        (("10.0.0.0/8",), ("10.1.0.0/16", "192.0.2.0/24"), ["10.1.0.0/16"]),
        (("10.1.0.0/16", "::/0"), ("10.0.0.0/8", "fd00::/8"), ["10.1.0.0/16", "fd00::/8"]),
        (("10.0.0.0/8",), None, ["10.0.0.0/8"]),
        (None, ("10.0.0.0/8",), ["10.0.0.0/8"]),
        (("10.0.0.0/8",), ("192.0.2.0/24",), None),
    ],
)
def test_a_client_must_be_in_networks_of_both(
    outer: tuple[str, ...] | None, inner: tuple[str, ...] | None, met: list[str] | None
) -> None:
    scope = Scope(match=Match(source=outer))
    found = [list(match.sources) for match, _ in scope.narrowed(Match(source=inner))]

    assert found == ([] if met is None else [met])
    assert scope.covered_by(Match(source=inner)) == (met == (None if outer is None else list(outer)) or inner is None)


def test_calls_are_known_by_their_path_and_their_content_type() -> None:
    def told(match: Match, outer: Match | None = None) -> list[tuple[str, list[tuple[str, str]]]]:
        found = Scope(match=outer or Match()).narrowed(match)
        return [(_path_of(item), [(field.name, field.prefix) for field in item.headers]) for item, _ in found]

    of_calls = [("content-type", "application/grpc")]
    one = asked(grpc={"service": "shop.v1.Orders", "method": "Get"})
    every = asked(grpc={"service": "shop.v1.Orders"})
    assert told(one) == [("/shop.v1.Orders/Get", of_calls)]
    assert told(every) == [("/shop.v1.Orders*", of_calls)]
    assert told(one, every) == [("/shop.v1.Orders/Get", of_calls)]
    assert told(one, asked(grpc={"service": "shop.v1.Carts"})) == []
    assert Scope(match=one).covered_by(every)
    assert not Scope(match=asked(path="/shop.v1.Orders/*")).covered_by(every)


@pytest.mark.parametrize(
    ("path", "rewrite", "inner", "expected"),
    [
        ("/users/{id}", None, "/users/*", [("/users/{}", None, None)]),
        ("/users/{id}/*", None, "/users/7", [("/users/7", None, None)]),
        ("/users/{id}/*", None, "/users/{who}/orders", [("/users/{}/orders", None, None)]),
        ("/users/{id}/*", "/*", "/*", [("/users/{}*", "", 2)]),
        ("/users/{id}/*", "/*", "/orders", [("/users/{}/orders", "", 2)]),
        ("/users/{id}/*", "/*", "/", [("/users/{}/", "", 2), ("/users/{}", "", 2)]),
        ("/users/{id}/*", "/v2/{id}/*", "/v2/7/{order}", [("/users/7/{}", "/v2/{id}", 2)]),
        ("/users/{id}/*", "/v2/{id}/*", "/v3/*", []),
        ("/users/{id}", "/{id}/{id}", "/7/{x}", [("/users/7", "/{id}/{id}", None)]),
        ("/users/{id}", "/{id}/{id}", "/7/8", []),
        ("/users/{id}", "/me", "/me", [("/users/{}", "/me", None)]),
        ("/files/{rest=**}", "/v2/{rest}", "/v2/a", [("/files/a", "/v2/a", None)]),
        ("/x/{id}/{rest=**}", "/v2/{rest}", "/v2/a", [("/x/{}/a", "/v2", 2)]),
    ],
)
def test_paths_with_parameters_meet_through_the_rewrite(
    path: str, rewrite: str | None, inner: str, expected: list[tuple[str, str | None, int | None]]
) -> None:
    scope = Scope.of(gateway_route(path, {"path": rewrite} if rewrite else None))
    found = [
        (_path_of(match), change and (change.template or change.prefix), _replaced(change))
        for match, change in scope.narrowed(asked(path=inner))
    ]
    assert found == expected


def gateway_route(path: str, rewrite: dict[str, object] | None) -> GatewayRoute:
    """One that a document has."""
    changed = f", rewrite: {json.dumps(rewrite)}" if rewrite else ""
    text = f"routes: [{{name: a, to: {{service: a}}, match: {{path: '{path}'}}{changed}}}]"
    model = load("gateways/edge.yaml", text.encode()).model
    assert isinstance(model, Gateway)
    return model.routes[0]


def _replaced(change: wire.PathRewrite | None) -> int | None:
    return change.replaced if change is not None and change.HasField("replaced") else None


def test_parameters_keep_their_names_where_a_segment_is_known() -> None:
    scope = Scope.of(gateway_route("/users/{id}/{rest=**}", None))
    ((match, _),) = scope.narrowed(asked(path="/users/7/orders/{id}/{order}"))
    told = [(item.name, item.WhichOneof("kind"), item.segment or item.rest) for item in match.parameters]
    assert told == [("id", "segment", 1), ("rest", "rest", 2), ("order", "segment", 4)]


def test_expressions_of_both_must_match_and_the_first_has_the_parameters() -> None:
    outer = asked(path_regex="/(?P<id>[0-9]+)/.*")
    ((match, change),) = Scope(match=outer).narrowed(asked(path_regex=".*/(?P<other>x)"))
    assert list(match.path_regexes) == ["/(?P<id>[0-9]+)/.*", ".*/(?P<other>x)"]
    assert [(item.name, item.group) for item in match.parameters] == [("id", True)]
    assert (match.HasField("path"), change) == (False, None)

    ((match, _),) = Scope(match=outer).narrowed(asked(path="/{a}/x"))
    assert (list(match.path_regexes), match.path.template) == (["/(?P<id>[0-9]+)/.*"], "/{}/x")
    assert Scope(match=outer).covered_by(outer)
    assert not Scope(match=outer).covered_by(asked(path_regex="/.*"))
    assert not Scope().covered_by(outer)


def test_what_an_expression_makes_of_a_path_is_not_told_beforehand() -> None:
    opaque = Scope(match=asked(path="/a/*"), substitution=PathSubstitution(pattern="b", substitution="c"))
    ((match, change),) = opaque.narrowed(asked(methods=("GET",)))
    assert (match.path.prefix, list(match.methods)) == ("/a", ["GET"])
    assert change is not None
    assert (change.regex, change.substitution) == ("b", "c")
    for inner in (asked(path="/a/*"), asked(path_regex="/a")):
        assert not opaque.can_tell(inner)
        assert list(opaque.narrowed(inner)) == []
        assert not opaque.covered_by(inner)


open_segments = st.lists(st.sampled_from(["a", "b", "{}"]), max_size=3).map(below_root)
stars = open_segments.map(lambda base: PathPattern(base, star=True))
exacts = open_segments.map(lambda base: PathPattern(base or "/", star=False))
client_paths = st.lists(st.sampled_from(["a", "b", ""]), max_size=4).map(below_root)


def named(pattern: PathPattern) -> PathPattern:
    """With a name for each parameter."""
    places = [at for at, part in enumerate(pattern.segments) if part == ANY]
    return PathPattern(pattern.base, pattern.star, tuple(Parameter(f"p{at}", at) for at in places))


@given(st.none() | stars | exacts, st.data(), stars | exacts, client_paths)
def test_a_narrowed_match_takes_what_the_service_would_take_of_the_rewritten_path(
    path: PathPattern | None, data: st.DataObject, inner: PathPattern, client_path: str
) -> None:
    path = named(path) if path is not None else None
    outer = path or ALL_PATHS
    names = [parameter.name for parameter in outer.parameters]
    parts = data.draw(st.none() | st.lists(st.sampled_from(["a", "b", *names]), max_size=3))
    rewrite = None
    if parts is not None:
        places = tuple(Parameter(part, at) for at, part in enumerate(parts) if part in names)
        base = below_root(ANY if part in names else part for part in parts)
        rewrite = PathPattern(base or ("" if outer.star else "/"), outer.star, places)
    client_path = client_path or "/"
    scope = Scope(match=Match(path=path), rewrite=rewrite)
    matches = [match for match, _ in scope.narrowed(Match(path=inner))]

    taken = outer.covers(client_path)
    seen = client_path if rewrite is None else _rewritten(outer, rewrite, client_path)
    assert any(_takes(match, client_path) for match in matches) == (taken and inner.covers(seen))


def _rewritten(outer: PathPattern, rewrite: PathPattern, path: str) -> str:
    given_segments = path.split("/")[1:]
    values = {p.segment: dict(enumerate(given_segments)).get(int(p.name[1:]), "") for p in rewrite.parameters}
    made = [values.get(at, part) for at, part in enumerate(rewrite.segments)]
    below = given_segments[len(outer.segments) :] if outer.star else []
    return below_root([*made, *below]) or "/"


def _takes(match: wire.Match, path: str) -> bool:
    kind = match.path.WhichOneof("kind")
    if kind is None:
        return True
    star = kind.endswith("prefix")
    base = getattr(match.path, kind)
    return PathPattern("" if star and base == "/" else base, star).covers(path)
