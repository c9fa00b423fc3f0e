"""What SECURITY.md says of limits is what the code does."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.config.model.limits import Limits

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()
FIXED = re.compile(r"^\| .* \| (\d+) \| \[`([A-Z_]+)`\]\((\S+)\) \|$", re.MULTILINE)


def rows() -> Iterator[str]:
    """The defaults of a listener as the page has them."""
    defaults = Limits.defaults().model_dump(mode="json")
    for name, field in Limits.model_fields.items():
        yield f"| `{name}` | {defaults[name]} | {field.description} |"


def constant(name: str, text: str) -> int:
    """The value of a Rust constant: a number, or a product of numbers."""
    found = re.search(rf"const {name}: \w+ = ([\d_ *]+);", text)
    assert found, f"no constant {name}"
    value = 1
    for factor in found[1].split("*"):
        value *= int(factor)
    return value


def test_the_page_has_every_default_of_a_listener_and_no_other() -> None:
    stands = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert stands == list(rows())


@pytest.mark.parametrize("row", FIXED.findall(PAGE), ids=lambda row: row[1])
def test_a_fixed_limit_is_the_constant(row: tuple[str, str, str]) -> None:
    value, name, path = row
    assert int(value) == constant(name, (ROOT / path).read_text())


def test_a_constant_that_differs_is_seen() -> None:
    assert len(FIXED.findall(PAGE)) >= 10
    assert constant("MOST", "pub(super) const MOST: usize = 64 * 1_024;") == 65536
    with pytest.raises(AssertionError, match="no constant LEAST"):
        constant("LEAST", "const MOST: usize = 1;")
