"""Who may call a service, and with which requests."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from sidecar.config.model.base import LABEL_EXPECTED, LABEL_PATTERN, text
from sidecar.config.model.route import HeadMatch

# Stands for every service of the mesh.
ANY = "*"
_SOURCE_PATTERN = rf"\*|{LABEL_PATTERN}"

Source = Annotated[
    str,
    BeforeValidator(text(_SOURCE_PATTERN, "this is not a service", f"`*` for any, or a name: {LABEL_EXPECTED}")),
    Field(json_schema_extra={"pattern": f"^({_SOURCE_PATTERN})$"}),
]


class Allow(HeadMatch):
    """One rule; a request is allowed when any rule takes it. All parts of a rule must match."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"query", "cookies", "jwt"})

    source: Source = Field(alias="from", description="The service that calls, a gateway's name too; `*` is any.")

    @property
    def is_about_requests(self) -> bool:
        """Whether it says more than who calls."""
        return bool(self.path or self.methods or self.headers)
