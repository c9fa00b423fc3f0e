"""Which regular expressions may go to the data plane."""

import pytest

from sidecar.config.regex import is_common


@pytest.mark.parametrize(
    "text",
    [
        r"/v[0-9]+/.*",
        r"(?i)/a\.b",
        r"a{2,5}|b*?",
        r"^/x(?:y|z)$",
        r"[^/\]]+",
        r"\d\w\s",
        r"(?P<n>a)",
        r"\/a\-b",
        "",
        "ä",
    ],
)
def test_what_all_engines_read_alike_goes(text: str) -> None:
    assert is_common(text)


@pytest.mark.parametrize(
    "text",
    [
        "(", "a(?=b)", r"(a)\1", "a++", "a*+", "(?>a)", "a{", "a{,5}", r"\Qa\E", r"\pL", "[[:alpha:]]", "[a&&b]",
        r"\w{100}{2}", "(?x)a", "(?<n>a)", "x" * 513, r"\z",
    ],
)  # fmt: skip
def test_what_one_of_them_may_refuse_or_read_otherwise_stays(text: str) -> None:
    assert not is_common(text)
