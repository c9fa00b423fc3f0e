"""Fields of config entries: done, or named."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from sidecar.consul import opaque
from sidecar.defaults import Calls, Local
from sidecar.sources.config_entries import DONE, calls_of, left_out, local_of_service


def paths(done: Any, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every level of the table at which an entry may have fields."""
    found = [above]
    for name, inner in done.items():
        if isinstance(inner, dict):
            found += paths(inner, (*above, "any" if name == "*" else name))
    return found


@pytest.mark.parametrize(
    ("kind", "path"), [(kind, path) for kind, done in DONE.items() for path in paths(done)], ids=str
)
def test_a_field_that_nobody_knows_is_named_wherever_it_stands(kind: str, path: tuple[str, ...]) -> None:
    entry: dict[str, Any] = {"FromTheFuture": 1}
    for name in reversed(path):
        entry = {name: entry}

    (told,) = left_out({"Kind": kind, "Name": "x", **entry})
    assert told == f"{kind} x: {'.'.join((*path, 'FromTheFuture'))}"


def test_items_of_lists_are_told_by_number() -> None:
    routes = [{"Destination": {"IdleTimeout": "0s"}}, {"Destination": {"IdleTimeout": "3s"}}]

    assert left_out({"Kind": "service-router", "Name": "x", "Routes": routes}) == [
        "service-router x: Routes[1].Destination.IdleTimeout"
    ]


def test_a_value_that_asks_for_what_we_do_anyway_is_not_named() -> None:
    modes = {"Mode": "direct", "MutualTLSMode": "strict", "MeshGateway": {"Mode": "none"}}
    assert left_out({"Kind": "proxy-defaults", "Name": "global", **modes}) == []

    others = {"Mode": "transparent", "MutualTLSMode": "lenient", "MeshGateway": {"Mode": "local"}}
    assert left_out({"Kind": "proxy-defaults", "Name": "global", **others}) == [
        "proxy-defaults global: MeshGateway.Mode local",
        "proxy-defaults global: Mode transparent",
        "proxy-defaults global: MutualTLSMode lenient",
    ]


def test_service_defaults_say_how_the_own_sidecar_treats_its_application() -> None:
    times = {"LocalConnectTimeoutMs": 5, "LocalRequestTimeoutMs": 7}
    bounds = {"MaxInboundConnections": 9, "MaxRequestHeadersKB": 2}
    config = {"local_connect_timeout_ms": 5, "local_request_timeout_ms": 7.0, "max_inbound_connections": 9}

    said = Local(timedelta(milliseconds=5), timedelta(milliseconds=7), 9)
    assert opaque.local(config) == said
    assert local_of_service({**times, **bounds}) == Local(said.connect_timeout, said.request_timeout, 9, 2048)
    assert local_of_service({"MaxInboundConnections": 0}) == Local()


def test_an_entry_may_say_that_callers_without_tls_are_taken_or_that_they_are_not() -> None:
    modes = ("permissive", "strict", "", None)
    told = [local_of_service({"MutualTLSMode": mode}).permissive for mode in modes]
    assert told == [True, False, None, None]


def test_calls_have_defaults_and_exceptions_by_service() -> None:
    limits = {"MaxConnections": 3, "MaxPendingRequests": 5, "MaxConcurrentRequests": 7}
    overrides = [{"Name": "orders", "Limits": limits}, {"Name": "far", "Peer": "other", "ConnectTimeoutMs": 1}]
    entry = {"UpstreamConfig": {"Defaults": {"ConnectTimeoutMs": 9}, "Overrides": overrides}}

    assert calls_of(entry) == {"": Calls(timedelta(milliseconds=9)), "orders": Calls(None, 3, 5, 7)}


def test_passive_health_checks_say_when_an_endpoint_is_ejected() -> None:
    check = {"Interval": "2s", "MaxFailures": 3, "MaxEjectionPercent": 40, "BaseEjectionTime": 15_000_000_000}
    opaque_check = {"interval": "2s", "max_failures": 3, "max_ejection_percent": 40, "base_ejection_time": "15s"}
    said = Calls(consecutive_errors=3, ejection=timedelta(seconds=15), max_ejected=Decimal("0.4"))

    assert calls_of({"UpstreamConfig": {"Defaults": {"PassiveHealthCheck": check}}}) == {"": said}
    assert opaque.calls({"passive_health_check": opaque_check}) == said
    assert opaque.calls({"passive_health_check": {"max_failures": 0}}) == Calls()


@pytest.mark.parametrize(("enforcing", "errors"), [(None, 3), (100, 3), (0, 0)])
def test_consecutive_errors_that_are_not_enforced_eject_nobody(enforcing: int | None, errors: int) -> None:
    check = {"MaxFailures": 3, "EnforcingConsecutive5xx": enforcing}
    entry = {"UpstreamConfig": {"Defaults": {"PassiveHealthCheck": check}}}

    assert calls_of(entry) == {"": Calls(consecutive_errors=errors)}
    named = left_out({"Kind": "service-defaults", "Name": "web", **entry})
    assert named == []


def test_a_share_of_the_ejections_is_named() -> None:
    entry = {"UpstreamConfig": {"Defaults": {"PassiveHealthCheck": {"EnforcingConsecutive5xx": 50}}}}
    assert left_out({"Kind": "service-defaults", "Name": "web", **entry}) == [
        "service-defaults web: UpstreamConfig.Defaults.PassiveHealthCheck.EnforcingConsecutive5xx 50"
    ]
