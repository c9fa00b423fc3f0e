"""The quick reader reads what the one that knows all places reads, or leaves it to that one."""

import json

import pytest
from hypothesis import example, given

from sidecar.config.document import Document
from sidecar.config.load import _NAMED_PARTS as NAMED
from sidecar.config.load import load
from sidecar.config.marked import parse
from sidecar.config.quick import Quick, read
from sidecar.config.source import Source
from sidecar.errors import ConfigError
from tests.unit.config.test_mutations import mutated, values
from tests.unit.documents import SHOP

# What the two readers, or YAML 1.1 and 1.2, could take for different things.
QUESTIONS = [
    *("yes", "no", "on", "off", "y", "010", "0o10", "0x1f", "0b1", "1_000", "12:30", "1e3", "1.", ".5", "+7", "-0"),
    *("2026-11-22", "2026-11-22T10:00:00Z", "=", "<<", "~x", "null ", "True", "TRUE", ".inf", ".nan", "9" * 30),
    *("a:b", "a: b", ":a", "a:", "::1", "https://id.example.com", "?a", "? a", "-a", "- a", "a#b", "a #b", "@a", "`a"),
    *(
        "'it''s'",
        '"\\x41"',
        '"\\/"',
        '"\\ud83d\\ude00"',
        '"a\\\n  b"',
        "'a\n\n  b'",
        "a\n  b",
        "%a",
        "a%",
        "*",
        "&",
        "!",
    ),
    *("|\n  a\n  b\n", ">\n  a\n  b\n\n", "|-\n  a\n", "|+\n  a\n\n", "|2\n   a\n", ">-\n  a\n   b\n  c\n", "[]", "{}"),
    *("[a, b,]", "{a: 1,}", "{a}", "[a: 1]", "{a:1}", '{"a":1}', "[::1]", "{a: b:c}", "[a\n, b]", "ü", "\U0001f600"),
]


def assert_same(text: str) -> Quick | None:
    """Whatever is read here, the other reader reads without a flaw, with these values and marks."""
    quick = read(text, NAMED)
    if quick is not None:
        tree = parse(Source("services/orders.yaml", text))
        assert tree.flaws == []
        # 1, 1.0 and True are equal, their texts are not.
        assert repr(quick.value) == repr(tree.value)
        marks = {path: mark[:2] for path, mark in tree.marks.items()}
        assert {path: mark[:2] for path, mark in quick.marks.items()} == {
            path: mark for path, mark in marks.items() if not path or (len(path) == 2 and path[0] in NAMED)
        }
    return quick


@pytest.mark.parametrize("text", SHOP.values())
def test_what_people_write_is_read_quickly(text: str) -> None:
    assert assert_same(text) is not None


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    "form", ["a: {}\nb: x\n", "a: [{}, x]\n", "a:\n  - {}\n  - x\n", "{}\n", "{}: x\n", "a: {{b: {}}}\n"]
)
def test_a_question_has_one_answer(form: str, question: str) -> None:
    assert_same(form.format(question))


@given(mutated())
@example(("services/orders.yaml", b"a: 1\n---\nb: 2\n"))
@example(("services/orders.yaml", b"a: 1\na: 2\n"))
@example(("services/orders.yaml", b""))
def test_a_mutated_document_is_read_alike(case: tuple[str, bytes]) -> None:
    try:
        text = case[1].decode()
    except UnicodeDecodeError:
        return
    assert_same(text)


@given(values)
def test_json_is_read_alike(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, indent=2), json.dumps(value, ensure_ascii=False)):
        assert_same(text)


@pytest.mark.parametrize(
    "text", ["a: &x 1", "a: *x", "a: !!str 1", "a:", "a: ~", "a: 1\na: 2", "? [a]\n: 1", "a: [", "\ta: 1", ""]
)
def test_what_no_document_may_have_is_left_to_the_other(text: str) -> None:
    assert read(text, NAMED) is None


@given(mutated())
def test_a_document_is_the_same_by_both(case: tuple[str, bytes]) -> None:
    """The whole way: a document that is read has its places, one that is refused has its problems."""
    assert outcome(*case) == outcome(*case, quickly=False)


def outcome(place: str, data: bytes, *, quickly: bool = True) -> object:
    with pytest.MonkeyPatch.context() as patch:
        if not quickly:
            patch.setattr("sidecar.config.load.read", lambda text, named: None)
        try:
            read_one: Document = load(place, data)
        except ConfigError as error:
            return error.problems
    return read_one.model, read_one.places
