"""What instances kept of one request, joined: who led to whom, and who decided."""

from typing import Any

from sidecar.story import Hop, decided, join

MS = 1_000_000
EDGE: dict[str, Any] = {"role": "gateway", "name": "edge", "listeners": {"edge-80": "10.0.0.1:80"}}
WEB: dict[str, Any] = {
    "role": "sidecar",
    "name": "web",
    "listeners": {"inbound": "10.0.0.2:21000", "outbound": "127.0.0.1:15001"},
}
ORDERS: dict[str, Any] = {"role": "sidecar", "name": "orders", "listeners": {"inbound": "10.0.0.3:21000"}}


def attempt(address: str, **fields: object) -> dict[str, Any]:
    return {"address": address, "span_id": "", "why": "", "status": 200, "grpc_status": "", "ms": 1.0, **fields}


def hop(instance: dict[str, Any], listener: str, at: float, ms: float, *attempts: dict[str, Any], **fields: Any) -> Hop:
    """One exchange that began after so many milliseconds and took that long."""
    record = {
        "unix_nanos": int(at * MS),
        "ms": ms,
        "request_id": "r-1",
        "trace_id": "4bf9",
        "parent_id": "",
        "listener": listener,
        "direction": "edge" if listener.startswith("edge") else listener,
        "attempts": list(attempts),
        "status": 200,
        "grpc_status": "",
        "reason": "",
        "detail": "",
        "next": "",
        "rule": "",
        "origin": "",
        "origin_index": None,
        "told": None,
        "tcp": False,
        "cluster": "orders",
    }
    return Hop(instance, {**record, **fields})


def refused(at: float = 6) -> Hop:
    return hop(
        ORDERS,
        "inbound",
        at,
        1,
        status=403,
        reason="not-allowed",
        detail="The caller may not do this. web is refused by a rule. Look at the rule.",
        next="Look at the rule.",
        rule="a rule",
        origin="sidecar/services/orders",
        origin_index=41,
    )


def tried(listener: str, at: float, ms: float, address: str, **fields: Any) -> Hop:
    """An exchange that led to this address."""
    return hop(EDGE if listener.startswith("edge") else WEB, listener, at, ms, attempt(address), **fields)


def tree(first: Hop) -> list[tuple[int, str, str]]:
    return [(depth, hop.who, hop.record["direction"]) for depth, hop in first.walk()]


def test_instances_are_joined_by_addresses_and_by_the_application_between() -> None:
    hops = [
        refused(),
        tried("outbound", 5, 3, "10.0.0.3:21000", status=403, told={"reason": "not-allowed", "detail": "", "next": ""}),
        tried("edge-80", 0, 10, "10.0.0.2:21000", status=500),
        tried("inbound", 1, 8, "127.0.0.1:8080", status=500),
    ]
    (first,) = join(hops)
    assert tree(first) == [
        (0, "gateway edge", "edge"),
        (1, "sidecar web", "inbound"),
        (2, "sidecar web", "outbound"),
        (3, "sidecar orders", "inbound"),
    ]


def test_spans_join_what_nothing_else_does() -> None:
    caller = hop(WEB, "outbound", 0, 5, attempt("10.0.0.9:1", span_id="aa"))
    # Through a proxy that is not ours, on a host whose clock is ahead.
    called = hop(ORDERS, "inbound", -400, 2, request_id="r-2", trace_id="", parent_id="aa")
    assert tree(join([called, caller])[0]) == [(0, "sidecar web", "outbound"), (1, "sidecar orders", "inbound")]


def test_another_request_is_a_story_of_its_own() -> None:
    caller = tried("outbound", 0, 5, "10.0.0.3:21000")
    other = hop(ORDERS, "inbound", 1, 2, request_id="r-2", trace_id="")
    late = hop(ORDERS, "inbound", 60_000, 2)
    assert len(join([caller, other, late])) == 3


def test_a_service_that_calls_itself_has_an_end() -> None:
    first = hop(ORDERS, "inbound", 0, 9, attempt("127.0.0.1:8080"))
    out = hop(ORDERS, "outbound", 2, 5, attempt("10.0.0.3:21000"))
    again = hop(ORDERS, "inbound", 3, 3, attempt("127.0.0.1:8080"))
    (joined,) = join([again, out, first])
    assert [(depth, hop.record["direction"]) for depth, hop in joined.walk()] == [
        (0, "inbound"),
        (1, "outbound"),
        (2, "inbound"),
    ]


def test_the_last_hop_that_gave_a_reason_decided() -> None:
    told = {"reason": "not-allowed", "detail": "The caller may not do this.", "next": "Look at the rule."}
    caller = tried("outbound", 5, 3, "10.0.0.3:21000", status=403, told=told)
    (first,) = join([caller, refused()])
    verdict = decided(first)
    assert (verdict.who, verdict.reason, verdict.rule) == ("sidecar orders (inbound)", "not-allowed", "a rule")
    assert verdict.what == "The caller may not do this. web is refused by a rule."
    assert verdict.next == "Look at the rule."
    assert verdict.origin == "sidecar/services/orders (index 41)"

    # Whom nobody asked is known by what it said.
    (alone,) = join([tried("outbound", 5, 3, "10.0.0.3:21000", status=403, told=told)])
    verdict = decided(alone)
    assert verdict.who == "the proxy at 10.0.0.3:21000, which was not asked"
    assert (verdict.reason, verdict.what) == ("not-allowed", "The caller may not do this.")


def test_of_tries_the_last_one_decides() -> None:
    caller = hop(WEB, "outbound", 0, 9, attempt("10.0.0.3:21000", why="retried-status"), attempt("10.0.0.3:21000"))
    failed = hop(ORDERS, "inbound", 1, 1, status=503, reason="overflow", detail="Full. Wait.", next="Wait.")
    (first,) = join([caller, failed, refused()])
    assert decided(first).reason == "not-allowed"


def test_an_application_that_answers_with_an_error_is_named() -> None:
    caller = tried("outbound", 0, 9, "10.0.0.3:21000", status=500)
    called = hop(ORDERS, "inbound", 1, 7, attempt("127.0.0.1:8080"), status=500, cluster="app")
    assert decided(join([caller, called])[0]).who == "the application orders"
    (alone,) = join([caller])
    alone.below.clear()
    verdict = decided(alone)
    assert (verdict.who, verdict.what) == ("orders at 10.0.0.3:21000", "It answered 500 by itself.")


def test_of_a_slow_request_the_hop_that_took_the_time_is_named() -> None:
    caller = tried("outbound", 0, 900, "10.0.0.3:21000")
    called = hop(ORDERS, "inbound", 1, 850, attempt("127.0.0.1:8080"))
    verdict = decided(join([caller, called])[0])
    assert (verdict.who, verdict.reason) == ("sidecar orders", "")
    assert "it had 850 for itself" in verdict.what
