"""What service-defaults, proxy-defaults and registrations in Consul say of one sidecar and of the calls it makes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Calls:
    """How one service calls another one, or (by "") all others; a field that is None is not said."""

    connect_timeout: timedelta | None = None
    max_connections: int | None = None
    max_pending: int | None = None
    max_requests: int | None = None
    consecutive_errors: int | None = None
    ejection: timedelta | None = None
    max_ejected: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Local:
    """How a service's own sidecar treats it; a field that is None is not said."""

    connect_timeout: timedelta | None = None
    request_timeout: timedelta | None = None
    # Of callers.
    max_connections: int | None = None
    max_header_bytes: int | None = None
    # Callers without TLS are taken too.
    permissive: bool | None = None
