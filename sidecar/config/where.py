"""Which endpoints a subset takes: the part of Consul's filter expressions that speaks about `meta` and `tags`.

    or      = and { "or" and }
    and     = not { "and" not }
    not     = "not" not | "(" or ")" | compare
    compare = selector ("==" | "!=") value
            | selector ["not"] "contains" value  |  value ["not"] "in" selector
            | selector "is" ["not"] "empty"
    selector = ["Service" "."] ( "meta" "." key | "meta" "[" string "]" | "meta" | "tags" )

`Meta` and `Tags` are read too, as Consul's own resolvers write them. A value that is not there equals nothing and
contains nothing, so `!=` and `not in` are true for it. `in` and `contains` look for a key in `meta`, for a part of the
text in `meta.key` and for a whole tag in `tags`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

Meta = Mapping[str, str]

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


class Facts(NamedTuple):
    """What a condition is judged over."""

    meta: Meta
    tags: Collection[str] = ()


Test = Callable[[Facts], bool]
# What a selector finds: a text, or what can be searched.
Selector = Callable[[Facts], str | Collection[str] | None]


class WhereError(ValueError):
    """A condition that cannot be read; `column` counts characters from 0."""

    def __init__(self, message: str, column: int, expected: str = EXPECTED, hint: str = "") -> None:
        super().__init__(message)
        self.column = column
        self.expected = expected
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Where:
    """A condition on an endpoint's meta and tags, parsed once."""

    text: str
    test: Test = field(repr=False, compare=False)

    def __str__(self) -> str:
        return self.text

    def matches(self, meta: Meta, tags: Collection[str] = ()) -> bool:
        """Whether an endpoint with this meta and these tags is taken."""
        return self.test(Facts(meta, tags))


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
        return tests[0] if len(tests) == 1 else lambda facts: any(test(facts) for test in tests)

    def _and(self) -> Test:
        tests = [self._not()]
        while self._take_word("and"):
            tests.append(self._not())
        return tests[0] if len(tests) == 1 else lambda facts: all(test(facts) for test in tests)

    def _not(self) -> Test:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._wrong("this condition is nested too deep", f"at most {_DEEPEST} levels")
        try:
            if self._take_word("not"):
                test = self._not()
                return _negate(test)
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
        whole = self._peek().text
        select, is_text = self._selector()
        if self._take_sign("=="):
            return _equals(select, self._compared(whole, is_text))
        if self._take_sign("!="):
            return _negate(_equals(select, self._compared(whole, is_text)))
        if self._take_word("contains"):
            return _contains(select, self._value())
        if self._take_word("is"):
            negated = self._take_word("not")
            if not self._take_word("empty"):
                raise self._wrong("`is` is followed by `empty` or `not empty`", "`empty`")
            return _negate(_empty(select)) if negated else _empty(select)
        if self._take_word("not"):
            if not self._take_word("contains"):
                raise self._wrong("here `not` is followed by `contains`", "`contains`")
            return _negate(_contains(select, self._value()))
        raise self._wrong("a comparison is missing", "`==`, `!=`, `contains`, `not contains` or `is empty`")

    def _value_in(self) -> Test:
        value = self._value()
        negated = self._take_word("not")
        if not self._take_word("in"):
            raise self._wrong("a value stands before `in` or `not in`", f"`in`, or {EXPECTED}")
        select, _ = self._selector()
        test = _contains(select, value)
        return _negate(test) if negated else test

    def _selector(self) -> tuple[Selector, bool]:
        """What it finds, and whether that is one text."""
        if self._peek().text == "Service" and self._peek(1).text == ".":
            self._next += 2
        token = self._peek()
        if token.kind == "word" and token.text in ("tags", "Tags"):
            self._next += 1
            return _tags, False
        if token.kind != "word" or token.text not in ("meta", "Meta"):
            hint = f"did you mean `meta.{token.text}`?" if token.kind == "word" else ""
            raise self._wrong(
                f"`{token.text}` cannot be selected" if token.text else "a condition is missing", hint=hint
            )
        self._next += 1
        if self._take_sign("."):
            return _meta_value(self._key("word", "a key of meta, such as meta.version")), True
        if self._take_sign("["):
            key = self._key("string", 'a key in quotes, such as meta["app.version"]')
            if not self._take_sign("]"):
                raise self._wrong("a bracket is not closed", "`]`")
            return _meta_value(key), True
        return _meta, False

    def _key(self, kind: str, expected: str) -> str:
        if self._peek().kind != kind:
            raise self._wrong("the key is missing", expected)
        return self._value()

    def _compared(self, whole: str, is_text: bool) -> str:
        if not is_text:
            expected = '`"name" in tags`' if whole in ("tags", "Tags") else "a key of it, such as meta.version"
            raise self._wrong(f"{whole} as a whole equals nothing", expected)
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


def _meta(facts: Facts) -> Collection[str]:
    return facts.meta


def _tags(facts: Facts) -> Collection[str]:
    return facts.tags


def _meta_value(key: str) -> Selector:
    return lambda facts: facts.meta.get(key)


def _equals(select: Selector, value: str) -> Test:
    return lambda facts: select(facts) == value


def _contains(select: Selector, value: str) -> Test:
    return lambda facts: value in (select(facts) or ())


def _empty(select: Selector) -> Test:
    return lambda facts: not select(facts)


def _negate(test: Test) -> Test:
    return lambda facts: not test(facts)
