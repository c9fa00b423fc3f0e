"""Which endpoints a subset takes: the part of Consul's filter expressions that speaks about `meta`.

    or      = and { "or" and }
    and     = not { "and" not }
    not     = "not" not | "(" or ")" | compare
    compare = selector ("==" | "!=") value
            | selector ["not"] "contains" value  |  value ["not"] "in" selector
            | selector "is" ["not"] "empty"
    selector = "meta" "." key | "meta" "[" string "]" | "meta"

A value that is not there equals nothing and contains nothing, so `!=` and `not in` are true for it.
`in` and `contains` look for a key in `meta` and for a part of the text in `meta.key`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

Meta = Mapping[str, str]
Test = Callable[[Meta], bool]

EXPECTED = 'a condition such as meta.version == "1"'
_LONGEST = 1024
# Bounds recursion, far above what a person writes.
_DEEPEST = 32
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)
           |(?P<word>[A-Za-z0-9_][A-Za-z0-9_/-]*)
           |(?P<sign>==|!=|[().\[\]]))""",
    re.VERBOSE,
)


class WhereError(ValueError):
    """A condition that cannot be read; `column` counts characters from 0."""

    def __init__(self, message: str, column: int, expected: str = EXPECTED, hint: str = "") -> None:
        super().__init__(message)
        self.column = column
        self.expected = expected
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Where:
    """A condition on an endpoint's meta, parsed once."""

    text: str
    test: Test = field(repr=False, compare=False)

    def __str__(self) -> str:
        return self.text

    def matches(self, meta: Meta) -> bool:
        """Whether an endpoint with this meta is taken."""
        return self.test(meta)


def parse(text: str) -> Where:
    """Read a condition; WhereError tells the column where it stops making sense."""
    if len(text) > _LONGEST:
        raise WhereError("this condition is too long", _LONGEST, f"at most {_LONGEST} characters")
    return Where(text, _Parser(_tokens(text)).whole())


class _Token(NamedTuple):
    # "string", "word", "sign" or "end".
    kind: str
    text: str
    column: int


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    position = 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            position += len(text[position:]) - len(text[position:].lstrip())
            raise WhereError(*_unreadable(text, position))
        kind = str(match.lastgroup)
        found.append(_Token(kind, match[kind], match.start(kind)))
        position = match.end()
    return [*found, _Token("end", "", len(text))]


def _unreadable(text: str, position: int) -> tuple[str, int]:
    character = text[position]
    if character == "=":
        return "equality is written `==`", position
    if character in "\"`'":
        return ("text stands in double quotes" if character == "'" else "this text has no closing quote"), position
    return f"`{character}` has no meaning here", position


class _Parser:
    """One pass over the tokens; each method reads one rule of the grammar."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def whole(self) -> Test:
        test = self._or()
        if self._peek().kind != "end":
            raise self._wrong("this does not belong to the condition", "`and`, `or` or the end")
        return test

    def _or(self) -> Test:
        tests = [self._and()]
        while self._take_word("or"):
            tests.append(self._and())
        return tests[0] if len(tests) == 1 else lambda meta: any(test(meta) for test in tests)

    def _and(self) -> Test:
        tests = [self._not()]
        while self._take_word("and"):
            tests.append(self._not())
        return tests[0] if len(tests) == 1 else lambda meta: all(test(meta) for test in tests)

    def _not(self) -> Test:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._wrong("this condition is nested too deep", f"at most {_DEEPEST} levels")
        try:
            if self._take_word("not"):
                test = self._not()
                return lambda meta: not test(meta)
            if self._take_sign("("):
                test = self._or()
                if not self._take_sign(")"):
                    raise self._wrong("a bracket is not closed", "`)`")
                return test
            return self._compare()
        finally:
            self._depth -= 1

    def _compare(self) -> Test:
        following = self._peek(2 if self._peek(1).text == "not" else 1)
        if self._peek().kind == "string" or (self._peek().kind == "word" and following.text == "in"):
            return self._value_in()
        key = self._selector()
        if self._take_sign("=="):
            return _equals(key, self._compared(key))
        if self._take_sign("!="):
            return _negate(_equals(key, self._compared(key)))
        if self._take_word("contains"):
            return _contains(key, self._value())
        if self._take_word("is"):
            negated = self._take_word("not")
            if not self._take_word("empty"):
                raise self._wrong("`is` is followed by `empty` or `not empty`", "`empty`")
            return _negate(_empty(key)) if negated else _empty(key)
        if self._take_word("not"):
            if not self._take_word("contains"):
                raise self._wrong("here `not` is followed by `contains`", "`contains`")
            return _negate(_contains(key, self._value()))
        raise self._wrong("a comparison is missing", "`==`, `!=`, `contains`, `not contains` or `is empty`")

    def _value_in(self) -> Test:
        value = self._value()
        negated = self._take_word("not")
        if not self._take_word("in"):
            raise self._wrong("a value stands before `in` or `not in`", f"`in`, or {EXPECTED}")
        test = _contains(self._selector(), value)
        return _negate(test) if negated else test

    def _selector(self) -> str | None:
        """A key of meta; None for meta itself."""
        token = self._peek()
        if token.kind != "word" or token.text not in ("meta", "Meta"):
            hint = f"did you mean `meta.{token.text}`?" if token.kind == "word" else ""
            raise self._wrong(
                f"`{token.text}` cannot be selected" if token.text else "a condition is missing", hint=hint
            )
        self._next += 1
        if self._take_sign("."):
            return self._key("word", "a key of meta, such as meta.version")
        if self._take_sign("["):
            key = self._key("string", 'a key in quotes, such as meta["app.version"]')
            if not self._take_sign("]"):
                raise self._wrong("a bracket is not closed", "`]`")
            return key
        return None

    def _key(self, kind: str, expected: str) -> str:
        if self._peek().kind != kind:
            raise self._wrong("the key is missing", expected)
        return self._value()

    def _compared(self, key: str | None) -> str:
        if key is None:
            raise self._wrong("meta as a whole equals nothing", "a key of it, such as meta.version")
        return self._value()

    def _value(self) -> str:
        token = self._peek()
        if token.kind not in ("string", "word"):
            raise self._wrong("a value is missing", 'a value in quotes, such as "1"')
        self._next += 1
        if token.kind == "word":
            return token.text
        body = token.text[1:-1]
        return body if token.text[0] == "`" else re.sub(r"\\(.)", r"\1", body)

    def _peek(self, ahead: int = 0) -> _Token:
        return self._tokens[min(self._next + ahead, len(self._tokens) - 1)]

    def _take_word(self, word: str) -> bool:
        return self._take("word", word)

    def _take_sign(self, sign: str) -> bool:
        return self._take("sign", sign)

    def _take(self, kind: str, text: str) -> bool:
        token = self._peek()
        taken = token.kind == kind and token.text == text
        self._next += taken
        return taken

    def _wrong(self, message: str, expected: str = EXPECTED, hint: str = "") -> WhereError:
        return WhereError(message, self._peek().column, expected, hint)


def _equals(key: str | None, value: str) -> Test:
    return lambda meta: key is not None and meta.get(key) == value


def _contains(key: str | None, value: str) -> Test:
    return lambda meta: value in (meta if key is None else meta.get(key, ()))


def _empty(key: str | None) -> Test:
    return lambda meta: not (meta if key is None else meta.get(key))


def _negate(test: Test) -> Test:
    return lambda meta: not test(meta)
