"""Conditions of subsets: Consul's words, judged over an endpoint's meta."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.where import WhereError, parse

TAGS = ("canary", "eu")
META = {"version": "1", "zone": "eu-west", "app.tier": "gold", "empty": ""}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('meta.version == "1"', True),
        ("meta.version == 1", True),
        ("meta.version == `1`", True),
        ('meta.version != "1"', False),
        ('meta.missing == "1"', False),
        ('meta.missing != "1"', True),
        ('meta["app.tier"] == "gold"', True),
        ('meta.version == "1" and meta.zone == "us"', False),
        ('meta.version == "1" or meta.zone == "us"', True),
        ('not meta.version == "1"', False),
        ('not not meta.version == "1"', True),
        # `and` binds more tightly than `or`.
        ('meta.version == "1" or meta.version == "2" and meta.zone == "us"', True),
        ('(meta.version == "1" or meta.version == "2") and meta.zone == "us"', False),
        ('not (meta.version == "1" and meta.zone == "us")', True),
        ('"version" in meta', True),
        ('"west" in meta.zone', True),
        ("west not in meta.zone", False),
        ('"x" not in meta.missing', True),
        ('meta contains "zone"', True),
        ('meta not contains "zone"', False),
        ('meta.zone contains "eu"', True),
        ('meta.zone not contains "eu"', False),
        ("meta.empty is empty", True),
        ("meta.missing is empty", True),
        ("meta.zone is not empty", True),
        ("meta is empty", False),
        ('"canary" in tags', True),
        ('"can" in tags', False),
        ("tags not contains blue", True),
        ("tags is empty", False),
        # As Consul's resolvers write them.
        ("Service.Meta.version == 1", True),
        ("canary in Service.Tags and Service.Meta.zone == `eu-west`", True),
        ('meta.zone == "a \\"quoted\\" word"', False),
    ],
)
def test_a_condition_takes_or_leaves_an_endpoint(condition: str, expected: bool) -> None:
    assert parse(condition).matches(META, TAGS) is expected


@pytest.mark.parametrize(
    ("condition", "column", "message"),
    [
        ("", 0, "a condition is missing"),
        ("   ", 3, "a condition is missing"),
        ('meta.version = "1"', 13, "equality is written `==`"),
        ('meta.version == "1', 16, "no closing quote"),
        ("meta.version == '1'", 16, "double quotes"),
        ('version == "1"', 0, "`version` cannot be selected"),
        ('meta.version == "1" meta.zone == "x"', 20, "does not belong"),
        ('meta.version == "1" && meta.zone == "x"', 20, "`&` has no meaning"),
        ("meta.version ==", 15, "a value is missing"),
        ("meta.version", 12, "a comparison is missing"),
        ('meta == "1"', 8, "as a whole"),
        ('meta. == "1"', 6, "the key is missing"),
        ('meta["a" == "1"', 9, "not closed"),
        ('(meta.version == "1"', 20, "not closed"),
        ("meta.version is full", 16, "`is` is followed by"),
        ("meta.version not equal", 17, "`not` is followed by"),
        ('"1" == meta.version', 4, "stands before `in`"),
        ("(" * 40, 32, "nested too deep"),
        ("not " * 40, 128, "nested too deep"),
        ("x" * 2000, 1024, "too long"),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_column(condition: str, column: int, message: str) -> None:
    with pytest.raises(WhereError, match=message) as caught:
        parse(condition)

    assert caught.value.column == column


def test_a_selector_without_meta_gets_a_suggestion() -> None:
    with pytest.raises(WhereError) as caught:
        parse('version == "1"')

    assert caught.value.hint == "did you mean `meta.version`?"


words = st.sampled_from(
    ["meta", ".", "version", "==", "!=", '"1"', "and", "or", "not", "in", "is", "empty", "contains", "(", ")", "[", "]"]
)


@given(st.lists(words, max_size=14).map(" ".join) | st.text(max_size=40))
def test_any_text_is_a_condition_or_a_where_error(text: str) -> None:
    try:
        condition = parse(text)
    except WhereError as error:
        column = error.column
    else:
        column = 0
        assert condition.matches(META) in (True, False)

    assert 0 <= column <= len(text)
