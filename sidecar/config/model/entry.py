"""From where requests may come to a gateway, and what they must be like."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from sidecar.config.model.base import Model, refusal, text
from sidecar.config.model.network import Network

# RFC 9110 5.6.2 token, but in lower case and without the star.
_NAME = r"[!#$%&'+.^_`|~0-9a-z-]+"
_CONTENT_TYPE = rf"{_NAME}/({_NAME}|\*)"

ContentType = Annotated[
    str,
    BeforeValidator(text(_CONTENT_TYPE, "this is no type of content", "one like application/json, or image/*")),
    Field(json_schema_extra={"pattern": f"^{_CONTENT_TYPE}$"}),
]


def _check_content_types(types: tuple[str, ...]) -> tuple[str, ...]:
    if not types:
        raise refusal("an empty list takes no content", hint="leave `content_types` out to take any")
    return types


ContentTypes = Annotated[tuple[ContentType, ...], Field(max_length=64), AfterValidator(_check_content_types)]

# A bare address is a network of one.
_WHOLE = re.compile(r"[0-9A-Fa-f.:]+")


def _as_network(value: object) -> object:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return f"{value}/{128 if ':' in value else 32}"
    return value


def _check_file(value: object) -> object:
    if isinstance(value, str) and not value.startswith("/") and value.endswith((".json", ".yaml", ".yml")):
        raise refusal("a file of this name would be taken for a document", expected="one such as blocked.txt")
    return value


Files = Annotated[tuple[Annotated[str, BeforeValidator(_check_file), Field(min_length=1)], ...], Field(max_length=8)]
Networks = tuple[Annotated[Network, BeforeValidator(_as_network)], ...]


class Sources(Model):
    """Whose requests are taken, by the client's address: of who came, or whom a proxy that is trusted names."""

    allow: Networks | None = Field(
        default=None, description="Only clients of these networks; [] nobody. Left out: whoever is not denied."
    )
    allow_files: Files | None = Field(
        default=None, description="Files with more of them: a network or address on each line, `#` before remarks."
    )
    deny: Networks = Field(default=(), description="No client of these networks, allowed or not.")
    deny_files: Files = Field(
        default=(),
        description="Files with more of them. They are read again when they change; relative paths start at the "
        "configuration directory. Hundreds of thousands cost a request as little as one.",
    )

    @property
    def files(self) -> tuple[str, ...]:
        """All of them."""
        return (*(self.allow_files or ()), *self.deny_files)
