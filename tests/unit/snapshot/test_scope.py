"""A gateway's match and a service's match become one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.model.path import PathPattern, parse_path
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
    return match.path.exact or f"{match.path.prefix}*"


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


segments = st.lists(st.sampled_from(["a", "b"]), max_size=2).map(lambda parts: "".join(f"/{part}" for part in parts))
stars = segments.map(lambda base: PathPattern(base, star=True))
exacts = segments.map(lambda base: PathPattern(base or "/", star=False))


@given(st.none() | stars | exacts, st.data(), stars | exacts, segments)
def test_a_narrowed_match_takes_what_the_service_would_take_of_the_rewritten_path(
    path: PathPattern | None, data: st.DataObject, inner: PathPattern, client_path: str
) -> None:
    star = path is None or path.star
    rewrite = data.draw(st.none() | (stars if star else exacts))
    client_path = client_path or "/"
    scope = Scope(match=Match(path=path), rewrite=rewrite)
    matches = [match for match, _ in scope.narrowed(Match(path=inner))]

    taken = path is None or path.covers(client_path)
    below = client_path.removeprefix(path.base if path is not None else "")
    seen = client_path if rewrite is None else f"{rewrite.base}{below}" or "/"
    assert any(_takes(match, client_path) for match in matches) == (taken and inner.covers(seen))


def _takes(match: wire.Match, path: str) -> bool:
    if not match.HasField("path"):
        return True
    if match.path.exact:
        return match.path.exact == path
    prefix = match.path.prefix
    return prefix == "/" or path == prefix or path.startswith(f"{prefix}/")
