"""Whatever is done to a document, it is read or refused: no other error, and every problem has a place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.document import Document
from sidecar.config.load import load
from sidecar.errors import ConfigError
from tests.unit.documents import SHOP

VALID = sorted(SHOP.items())
# What hurts parsers: structure, quotes, tabs, controls, directives, numbers out of bounds, values of other types.
PIECES = [
    *("{", "}", "[", "]", ":", "- ", "\n", "\n\n", "\t", "'", '"', "|", ">", "&a ", "*a", "!", "%YAML 1.1\n", "---\n"),
    *("...\n", "#", "? ", ",", "\\", "\x00", "\x85", "\u2028", "\ufeff", "\U0001f600", "null", "~", "no", "on", "5"),
    *("-1", "1e999", "9" * 40, "0x", ".nan", "5 s", "routes: ", "  ", "<<: ", "\r", "name: a", "/*", "50%", "''"),
]


def refused_or_read(place: str, data: bytes) -> Document | None:
    try:
        return load(place, data)
    except ConfigError as error:
        problems = error.problems
    assert problems
    for problem in problems:
        assert problem.place.startswith(place)
        assert problem.message
        assert str(problem).encode()
    return None


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    place, text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 12)))
        text = text[:at] + draw(st.sampled_from(PIECES) | st.text(max_size=3)) + text[end:]
    return place, text.encode("utf-8", "surrogatepass")


@given(mutated())
def test_a_mutated_document_is_read_or_refused(case: tuple[str, bytes]) -> None:
    refused_or_read(*case)


@given(st.sampled_from([place for place, _ in VALID]), st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(place: str, data: bytes) -> None:
    refused_or_read(place, data)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["routes", "name", "match", "to", "subsets", "where", "split", "listeners", "retry", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from([place for place, _ in VALID]), values)
def test_any_values_are_read_or_refused(place: str, value: object) -> None:
    refused_or_read(place, json.dumps(value).encode())


@pytest.mark.parametrize(("place", "text"), VALID)
def test_what_was_read_can_be_written_and_read_again(place: str, text: str) -> None:
    document = load(place, text.encode())
    written = document.model.model_dump_json(exclude_unset=True)

    assert load(place, written.encode()).model == document.model
