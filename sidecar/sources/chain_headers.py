"""Pure: what Consul's entries say of changed headers becomes ours."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from sidecar.config.model.header_modifier import HeaderModifier
from sidecar.consul.fields import Json


def header_modifier(told: Json) -> tuple[HeaderModifier | None, list[str]]:
    """What `RequestHeaders` or `ResponseHeaders` ask for, None for nothing; and what of it is not carried out.

    In Envoy names are taken away first, then values are added, then set; so the last of these holds for a name.
    """
    missing: list[str] = []
    removed = {name for name, _ in _good("remove", dict.fromkeys(told.get("Remove") or (), "-"), missing)}
    added = dict(_good("add", told.get("Add") or {}, missing))
    values = dict(_good("set", told.get("Set") or {}, missing))
    # What is taken away and then added is set.
    values = {**{name: value for name, value in added.items() if name in removed}, **values}
    modifier = HeaderModifier(
        set=values,
        add={name: value for name, value in added.items() if name not in values},
        remove=tuple(sorted(removed - values.keys())),
    )
    return (modifier if modifier != HeaderModifier() else None), missing


def _good(field: str, told: Json, missing: list[str]) -> Iterator[tuple[str, str]]:
    """Each name in lower case with its value; what we cannot do is put into `missing`."""
    for name, text in sorted(told.items()):
        name, value = str(name).lower(), str(text)
        if "%" in value.replace("%%", ""):
            # `%DOWNSTREAM_REMOTE_ADDRESS%` and the like.
            missing.append(f"{field.capitalize()} {name}: {text} has a variable of Envoy")
            continue
        try:
            HeaderModifier.model_validate({field: (name,) if field == "remove" else {name: value}})
        except ValidationError as error:
            missing.append(f"{field.capitalize()} {name}: {error.errors()[0]['msg']}")
            continue
        yield name, value
