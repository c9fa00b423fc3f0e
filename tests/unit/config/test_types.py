"""The types with units, the paths and the names."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from sidecar.config.model.base import (
    format_duration,
    format_share,
    format_size,
    parse_duration,
    parse_share,
    parse_size,
)
from sidecar.config.model.path import ALL_PATHS, Parameter, PathPattern, parse_path, parse_target
from sidecar.config.spelling import listed, nearest


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0s", timedelta(0)),
        ("100ms", timedelta(milliseconds=100)),
        ("1.5s", timedelta(milliseconds=1500)),
        ("2m", timedelta(minutes=2)),
        ("1h", timedelta(hours=1)),
    ],
)
def test_a_duration_has_a_unit(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("value", ["5", 5, 1.5, "5 s", "-5s", "s", "5sec", "", "0.5ms", "9999h", True, None, (), {}])
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_duration(value)


@given(st.integers(min_value=0, max_value=49 * 24 * 3_600_000))
def test_a_duration_is_read_as_it_is_written(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)

    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(("text", "size"), [("0B", 0), ("100B", 100), ("60KiB", 61_440), ("3MiB", 3 << 20)])
def test_a_size_has_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert format_size(size) == text


@pytest.mark.parametrize("value", ["5", 5, "5KB", "1.5MiB", "-1B", "KiB", "", True, None])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_size(value)


@given(st.integers(min_value=0, max_value=1 << 39))
def test_a_size_is_read_as_it_is_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(("text", "share"), [("0%", "0"), ("5%", "0.05"), ("0.1%", "0.001"), ("100%", "1")])
def test_a_share_is_written_in_percent(text: str, share: str) -> None:
    assert parse_share(text) == Decimal(share)
    assert format_share(Decimal(share)) == text


@pytest.mark.parametrize("value", ["101%", "-1%", "5", 5, 0.5, "half", "", "%", "100.1%", False, None])
def test_what_is_no_share_is_refused(value: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_share(value)


@pytest.mark.parametrize(
    ("text", "matched", "unmatched"),
    [
        ("/api", ["/api"], ["/api/", "/api/x", "/apis", "/"]),
        ("/api/*", ["/api", "/api/", "/api/x/y"], ["/apis", "/"]),
        ("/*", ["/", "/x"], []),
        ("/users/{id}", ["/users/7", "/users/a%2Fb"], ["/users", "/users/", "/users/7/", "/users/7/x", "/user/7"]),
        ("/users/{id}/*", ["/users/7", "/users/7/", "/users/7/x"], ["/users", "/users/", "//x"]),
        ("/{a}/b/{rest=**}", ["/x/b", "/x/b/c/d"], ["/b", "/x/c", "//b"]),
        ("/", ["/"], ["/x"]),
    ],
)
def test_a_path_matches_as_it_reads(text: str, matched: list[str], unmatched: list[str]) -> None:
    pattern = parse_path(text)

    assert str(pattern) == text
    assert [path for path in [*matched, *unmatched] if pattern.covers(path)] == matched


@pytest.mark.parametrize(
    "value", ["", "api", "/api*", "/a/*/b", "/a?b", "/a#b", "/a b", "//", "/a//b", "//*", "/a/../b", "/ü", "/%zz", 5]
)
def test_what_is_no_path_is_refused(value: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_path(value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("/%7Euser/*", "`/~user/*`"), ("/caf%c3%a9", "`/caf%C3%A9`"), ("/a%2fb", "`/a%2Fb`")],
)
def test_a_path_is_written_in_the_form_that_requests_have(text: str, hint: str) -> None:
    with pytest.raises(PydanticCustomError) as refused:
        parse_path(text)
    assert refused.value.context is not None
    assert hint in refused.value.context["hint"]
    parse_path(hint.strip("`"))


@pytest.mark.parametrize(
    ("text", "column", "hint"),
    [
        ("/a/{id}/b?", 9, ""),
        ("/a/{id=*}", 3, "did you mean `{id}`?"),
        ("/a/{id=**}/b", 3, ""),
        ("/a/x{id}", 3, ""),
        ("/a/{1}", 3, ""),
        ("/a/{id", 3, ""),
        ("/a/{id}/{id}", 0, ""),
        ("/{id}/{id=**}", 0, ""),
        ("/users/*/orders", 7, "a parameter such as `{id}` stands for one segment"),
    ],
)
def test_a_parameter_is_a_whole_segment_with_a_name_of_its_own(text: str, column: int, hint: str) -> None:
    with pytest.raises(PydanticCustomError) as refused:
        parse_path(text)
    assert refused.value.context is not None
    assert (refused.value.context["column"], refused.value.context["hint"]) == (column, hint)


def test_a_rewrite_names_a_parameter_as_often_as_it_likes() -> None:
    assert parse_target("/{id}/{id}").segments == ["{}", "{}"]
    assert parse_target("/a/{rest}").with_rest("rest") == PathPattern("/a", star=True)
    with pytest.raises(PydanticCustomError):
        parse_target("/a/{rest=**}")


segments = st.lists(st.sampled_from(["a", "b", "ab", "{}"]), max_size=3)
patterns = st.builds(PathPattern, segments.map(lambda parts: "".join(f"/{part}" for part in parts)), st.just(True)) | (
    st.builds(PathPattern, segments.map(lambda parts: "/" + "/".join(parts)), st.just(False))
)
paths = st.lists(st.sampled_from(["a", "b", "ab", ""]), max_size=3).map(lambda parts: "/" + "/".join(parts))


@given(patterns, patterns, paths)
def test_where_two_patterns_meet_both_match(one: PathPattern, other: PathPattern, path: str) -> None:
    met = one.meet(other)

    assert (met is not None and met.covers(path)) == (one.covers(path) and other.covers(path))
    assert other.meet(one) == met


def test_what_both_take_has_the_names_of_both() -> None:
    met = parse_path("/users/{user}/*").meet(parse_path("/users/7/orders/{user}/{order}"))
    assert met == PathPattern("/users/7/orders/{}/{}", False, (Parameter("user", 1), Parameter("order", 4)))


def test_every_pattern_meets_all_paths_in_itself() -> None:
    assert ALL_PATHS.meet(PathPattern("/api", star=True)) == PathPattern("/api", star=True)


def test_the_nearest_name_is_found() -> None:
    assert nearest("timeot", ["timeout", "retry"]) == "timeout"
    assert nearest("load-balancer", ["load_balancer", "retry"]) == "load_balancer"
    assert nearest("zebra", ["timeout", "retry"]) is None
    assert nearest("t" * 1000, ["timeout"]) is None


def test_a_long_list_of_names_is_cut() -> None:
    assert listed(["b", "a"]) == "`a`, `b`"
    assert listed([]) == "none"
    assert listed([str(number) for number in range(20)], limit=2) == "`0`, `1` and 18 more"
