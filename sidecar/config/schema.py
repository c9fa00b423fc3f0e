"""JSON Schema of the documents, for editors: `# yaml-language-server: $schema=service.schema.json`."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from sidecar.config.load import MODELS
from sidecar.config.model.base import format_duration, format_share

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Generator(GenerateJsonSchema):
    """A field may be left out, but no document holds a null; titles that repeat the field's name say nothing."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default", ...) is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def encode_default(self, dft: object) -> object:
        if isinstance(dft, timedelta):
            return format_duration(dft)
        if isinstance(dft, Decimal):
            return format_share(dft)
        return _without_nulls(super().encode_default(dft))

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return value


def of(kind: str) -> Schema:
    """Of the documents of one kind: "mesh", "service", "gateway" or "consumer"."""
    return {"$schema": _DIALECT, **MODELS[kind].model_json_schema(schema_generator=_Generator)}


def of_all() -> Schema:
    """Of all documents: one definition a kind, in "$defs"; a document is any of them."""
    definitions: Schema = {}
    for kind, model in MODELS.items():
        described = model.model_json_schema(schema_generator=_Generator)
        definitions.update(described.pop("$defs", {}))
        definitions[kind] = described
    return {
        "$schema": _DIALECT,
        "title": "Documents of sidecar",
        "anyOf": [{"$ref": f"#/$defs/{kind}"} for kind in MODELS],
        "$defs": dict(sorted(definitions.items())),
    }
