"""YAML as it is read here: the values of JSON, the scalars of YAML 1.2, a place for everything."""

import pytest

from sidecar.config.marked import parse
from sidecar.config.source import Mark, Source
from sidecar.config.tree import Tree
from sidecar.errors import ConfigError, Problem


def read(text: str) -> Tree:
    return parse(Source("f.yaml", text))


def stopped(text: str) -> Problem:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return caught.value.problems[-1]


def test_scalars_are_those_of_yaml_1_2() -> None:
    tree = read("[true, False, no, on, 12:30, 010, 0x10, 1.5, 1e3, .inf, '5', 2024-01-01, 0xfffffffffff]")

    assert tree.value == (
        *(True, False, "no", "on", "12:30", 10, "0x10", 1.5, 1000.0, ".inf", "5", "2024-01-01"),
        "0xfffffffffff",
    )


def test_every_value_and_key_has_its_place() -> None:
    tree = read("a:\n  - {b: word}\n")

    assert tree.value == {"a": ({"b": "word"},)}
    assert tree.mark(("a", 0, "b")) == Mark(2, 9, 4)
    assert tree.key_marks["a", 0, "b"] == Mark(2, 6, 1)


def test_a_part_that_was_not_written_has_the_place_of_what_is_around_it() -> None:
    assert read("a: {b: 1}").mark(("a", "c", "d")) == Mark(1, 4, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "`a` stands here twice"),
        ("a: &x 1", "anchors and aliases"),
        ("a: *x", "anchors and aliases"),
        ("a: !!int '1'", "tags"),
        ("a:", "`a` has no value"),
        ("a: ~", "`a` has no value"),
        ("- null", "this has no value"),
        ('{"a": "\\ud83d"}', "half of a UTF-16 pair"),
        ('{"\\udc00": 1}', "half of a UTF-16 pair"),
    ],
)
def test_what_json_does_not_have_is_a_flaw(text: str, message: str) -> None:
    flaws = read(text).flaws

    assert len(flaws) == 1
    assert message in flaws[0].problem.message


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a:\n\tb: 1", "f.yaml:2:1", "a tab cannot indent YAML"),
        ("a: [1,", "f.yaml:1:7", "this is not YAML"),
        ("a: b: c", "f.yaml:1:5", "this is not YAML: mapping values are not allowed here"),
        ("a: 'x", "f.yaml:1:6", "this is not YAML"),
        ("a: 1\n---\nb: 2", "f.yaml:2:1", "a second document begins here"),
        ("? [a]\n: b", "f.yaml:1:3", "a key is plain text"),
        ("[" * 5000, "f.yaml:1:34", "nested too deep"),
        ("a: \x00", "f.yaml:1:4", "this character does not belong"),
        ("%YAML 9.1\n---\na: 1", "f.yaml:1:1", "this is not YAML"),
    ],
)
def test_what_cannot_be_read_to_the_end_is_told_with_its_place(text: str, place: str, message: str) -> None:
    problem = stopped(text)

    assert problem.place == place
    assert message in problem.message


def test_what_was_wrong_before_the_end_is_told_too() -> None:
    with pytest.raises(ConfigError) as caught:
        read("a: 1\na: 2\nb: [")

    assert [problem.place for problem in caught.value.problems] == ["f.yaml:2:1", "f.yaml:3:5"]


def test_a_long_line_is_shown_around_the_caret() -> None:
    line = f"{'x' * 300}: &a 1"
    shown, caret = read(line).flaws[0].problem.snippet.splitlines()

    assert len(shown) < 110
    assert shown[caret.index("^") :].startswith("&a 1")


def test_a_character_that_does_not_belong_has_its_place() -> None:
    problem = stopped("a: 1\r\nb: 2\u2028c: \x00")

    assert (problem.place, problem.snippet) == ("f.yaml:2:9", "2 | b: 2\ufffdc: \ufffd\n  |         ^")


def test_lines_are_counted_alike_in_places_and_snippets() -> None:
    flaw = read("a: 'x\u2028  y'\r\nb: 2\rb: 3\n").flaws[0]

    assert flaw.problem.place == "f.yaml:3:1"
    assert flaw.problem.snippet == "3 | b: 3\n  | ^"


def test_a_snippet_cannot_move_the_cursor() -> None:
    snippet = Source("f.yaml", "a: \x1b[2J\tb\u202e").problem(Mark(1, 1), "wrong").snippet

    assert snippet == "1 | a: \ufffd[2J b\ufffd\n  | ^"
