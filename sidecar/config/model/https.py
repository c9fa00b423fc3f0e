"""Clients that should speak TLS: those in the clear are sent there, and those that do are told to stay."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from sidecar.config.model.base import LongDuration, Model, refusal, refuse_all
from sidecar.config.model.direct import RedirectStatus

# What browsers ask for before they take a host into their lists (https://hstspreload.org/#deployment-recommendations).
_PRELOAD = timedelta(days=365)


class HttpsRedirect(Model):
    """Requests that come in the clear are sent to the same host, path and query by TLS, and reach no route."""

    # As Envoy's require_tls and Istio's httpsRedirect.
    status: RedirectStatus = Field(default=301, description="308 keeps the method of other requests than GET.")
    port: int = Field(default=443, ge=1, le=65535, description="Where clients reach the listener with TLS.")


class Hsts(Model):
    """Strict-Transport-Security (RFC 6797) in answers by TLS: browsers come by TLS alone for so long."""

    max_age: LongDuration = Field(default=_PRELOAD, description="For how long; 0s takes it back.")
    include_subdomains: bool = Field(default=False, description="For all hosts below this one, too.")
    preload: bool = Field(default=False, description="Browsers may take the host into the lists that they come with.")

    @model_validator(mode="after")
    def _check_preload(self) -> Self:
        if self.preload and not (self.include_subdomains and self.max_age >= _PRELOAD):
            expected = "`include_subdomains: true` and a `max_age` of 8760h or more"
            refuse_all([(("preload",), True, refusal("browsers' lists ask for more", expected=expected))])
        return self
