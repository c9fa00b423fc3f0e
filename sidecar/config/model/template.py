"""Values that are made of what a request says: "%METHOD% by %CLAIM(sub)%"."""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.config.model.base import refusal
from sidecar.config.model.header import is_token
from sidecar.config.spelling import did_you_mean, listed

# What is known of a request (dataplane/src/snapshot/model/template.rs), in the words of the access log.
_FACTS = frozenset(
    {
        *("AUTHORITY", "CLIENT", "CONSUMER", "HOST", "METHOD", "PATH", "PEER", "QUERY", "REQUEST_ID", "ROUTE"),
        *("SCHEME", "CLAIM(…)", "COOKIE(…)", "HEADER(…)", "QUERY(…)"),
    }
)
_OF_CALLERS = ("CLAIM", "CONSUMER")
_DESCRIPTION = (
    "A value can tell of the request: %METHOD%, %SCHEME%, %AUTHORITY%, %HOST%, %PATH%, %QUERY%, %QUERY(name)%, "
    "%HEADER(name)%, %COOKIE(name)%, %CLIENT%, %PEER%, %CONSUMER%, %CLAIM(name)%, %REQUEST_ID%, %ROUTE%; %% is a "
    "percent sign. Where one of them is not there, there is no value."
)


def described(words: str) -> str:
    """These words, and what values can be."""
    return f"{words} {_DESCRIPTION}"


def facts(text: str) -> Iterator[str]:
    """Those between percent signs, in their order: "METHOD", "CLAIM(sub)"."""
    return (name for name in text.split("%")[1::2] if name)


def needs_caller(text: str) -> bool:
    """Whether a fact of it is known only of who has shown credentials."""
    return any(fact.partition("(")[0] in _OF_CALLERS for fact in facts(text))


def sample(text: str) -> str:
    """The text with a letter for each fact. Raises a refusal where there is none of a name."""
    if text.count("%") % 2:
        raise refusal("a percent sign is not closed", expected="%FACT%, or %% for a percent sign")
    pieces = text.split("%")
    for fact in facts(text):
        if not _is_fact(fact):
            raise refusal(
                f"there is no fact `%{fact}%`",
                expected=listed(_FACTS, limit=len(_FACTS)),
                hint=did_you_mean(fact, _FACTS),
                column=text.index(f"%{fact}%"),
            )
    pieces[1::2] = ["x" if name else "%" for name in pieces[1::2]]
    return "".join(pieces)


def _is_fact(fact: str) -> bool:
    kind, bracket, name = fact.partition("(")
    if not bracket:
        return fact in _FACTS
    name, end = name[:-1], name[-1:]
    if end != ")" or not name or f"{kind}(…)" not in _FACTS:
        return False
    return kind != "HEADER" or (is_token(name) and name == name.lower())
