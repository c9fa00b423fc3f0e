"""What the models refuse, told to a person: the place, what was wrong, what was expected, the nearest valid name."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sidecar.config.model.base import NOT_YET, REFUSED, Model
from sidecar.config.source import MOST_PROBLEMS, Mark, Source
from sidecar.config.spelling import did_you_mean, listed
from sidecar.config.tree import Path, Tree
from sidecar.errors import Problem

# What pydantic's type errors call the types, in the words of a document.
_EXPECTED_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
    "dict_type": "a mapping",
    "tuple_type": "a list",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
}
_BOOLEAN_WORDS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
# A scalar longer than this is named by its type.
_LONGEST_SHOWN = 40


def explain(error: ValidationError, model: type[Model], source: Source, tree: Tree) -> tuple[Problem, ...]:
    """The problems of one document, the flaws of its text among them, in the order of its lines."""
    explainer = _Explainer(model, source, tree)
    spoilt = {flaw.path for flaw in tree.flaws}
    errors = [details for details in error.errors(include_url=False) if details["loc"] not in spoilt]
    found = [(flaw.mark, flaw.problem) for flaw in tree.flaws]
    found += [explainer.problem(details) for details in errors[:MOST_PROBLEMS]]
    problems = [problem for _, problem in sorted(found, key=lambda pair: pair[0])]
    if len(errors) > MOST_PROBLEMS:
        problems.append(Problem(source.place, f"there are {len(errors) - MOST_PROBLEMS} problems more"))
    return tuple(problems)


class _Explainer:
    def __init__(self, model: type[Model], source: Source, tree: Tree) -> None:
        self._model = model
        self._source = source
        self._tree = tree

    def problem(self, details: ErrorDetails) -> tuple[Mark, Problem]:
        """With its mark, to sort by."""
        path: Path = details["loc"]
        kind = details["type"]
        value = details["input"]
        context = details.get("ctx", {})
        if path and path[-1] == "[key]":
            path = path[:-1]
            mark = self._tree.key_marks.get(path, self._tree.mark(path))
        else:
            mark = self._tree.mark(path)
        if kind == "extra_forbidden":
            return self._unknown_field(path)
        if kind == "missing":
            return self._missing_field(path)
        if kind in (REFUSED, NOT_YET):
            mark = self._into(mark, context.get("column", 0))
            return self._at(mark, context["message"], context.get("expected", ""), context.get("hint", ""))
        if kind == "literal_error":
            options = self._options(path)
            hint = did_you_mean(value, options) if isinstance(value, str) else ""
            return self._at(mark, f"{self._shown(value)} is not one of the choices", listed(options), hint)
        if kind in _BOUNDS:
            name, words = _BOUNDS[kind]
            return self._at(mark, f"{self._shown(value)} is out of bounds", f"{words} {context[name]}")
        if expected := _EXPECTED_TYPES.get(kind):
            return self._at(mark, f"{self._shown(value)} is not {expected}", expected, _type_hint(kind, value))
        return self._at(mark, details["msg"])

    def _shown(self, value: object) -> str:
        return "this" if self._source.is_secret else _shown(value)

    def _at(self, mark: Mark, message: str, expected: str = "", hint: str = "") -> tuple[Mark, Problem]:
        return mark, self._source.problem(mark, message, expected=expected, hint=hint)

    def _into(self, mark: Mark, column: int) -> Mark:
        """The place `column` characters into a text value that stands on one line."""
        if not column or column >= mark.width:
            return mark
        quoted = self._source.line(mark.line)[mark.column - 1 : mark.column] in ("'", '"')
        return Mark(mark.line, mark.column + column + quoted)

    def _unknown_field(self, path: Path) -> tuple[Mark, Problem]:
        mark = self._tree.key_marks.get(path, self._tree.mark(path))
        name = str(path[-1])
        model = _model_at(self._model, path[:-1])
        if model is None:
            return self._at(mark, f"unknown field `{name}`")
        if name in model.not_yet:
            return self._at(mark, f"`{name}` is not supported yet", listed(model.written_fields()))
        hint = did_you_mean(name, model.written_fields())
        return self._at(mark, f"unknown field `{name}`", listed(model.written_fields(), limit=20), hint)

    def _missing_field(self, path: Path) -> tuple[Mark, Problem]:
        mark = self._tree.mark(path[:-1])
        model = _model_at(self._model, path[:-1])
        info = model.written_fields().get(str(path[-1])) if model is not None else None
        return self._at(mark, f"`{path[-1]}` is missing", info.description or "" if info is not None else "")

    def _options(self, path: Path) -> tuple[str, ...]:
        annotation = _annotation_at(self._model, path)
        return tuple(str(option) for part in _parts(annotation) for option in _literals(part))


def _shown(value: object) -> str:
    """A value as the person wrote it, or its kind when it is long."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str | int | float) and len(str(value)) <= _LONGEST_SHOWN:
        return f"`{value}`"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, tuple) else "this"


def _type_hint(kind: str, value: object) -> str:
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f'did you mean `"{str(value).lower()}"`, in quotes?'
    if kind == "int_type" and isinstance(value, str) and value.isdecimal():
        return f"did you mean `{value}`, without quotes?"
    if kind == "bool_type" and isinstance(value, str):
        word = _BOOLEAN_WORDS.get(value.lower(), value.lower())
        return f"did you mean `{word}`?" if word in ("true", "false") else ""
    if kind == "tuple_type" and isinstance(value, dict):
        return "each item of a list begins with `-`"
    return ""


def _model_at(model: type[Model], path: Path) -> type[Model] | None:
    """The model whose fields stand at `path`."""
    for part in _parts(_annotation_at(model, path)):
        if isinstance(part, type) and issubclass(part, Model):
            return part
    return None


def _annotation_at(model: type[Model], path: Path) -> Any:
    annotation: Any = model
    for step in path:
        annotation = _below(annotation, step)
    return annotation


def _below(annotation: Any, step: str | int) -> Any:
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, Model):
            field = part.written_fields().get(str(step))
            return field.annotation if field is not None else None
        if get_origin(part) is tuple:
            return get_args(part)[0]
        if get_origin(part) is dict:
            return get_args(part)[1]
    return None


def _parts(annotation: Any) -> Iterator[Any]:
    """The alternatives of a union, without the wrapping of Annotated."""
    if get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    elif hasattr(annotation, "__metadata__"):
        yield from _parts(annotation.__origin__)
    else:
        yield annotation


def _literals(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()
