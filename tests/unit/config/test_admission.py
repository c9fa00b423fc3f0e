"""What a service takes from its callers, as people write it and as the data plane gets it."""

import pytest

from sidecar.config.load import load
from sidecar.config.model import Service
from sidecar.snapshot import SidecarRole, compile
from sidecar.snapshot.admission import admission
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import Chain, ChainsUpdate
from tests.unit.documents import problems_of, world_of


def told(text: str) -> wire.Admission | None:
    model = load("services/orders.yaml", text.encode()).model
    assert isinstance(model, Service)
    return admission(model)


def test_a_limit_by_parts_of_a_request_is_told_with_its_defaults() -> None:
    assert told("rate_limit: {requests: 200, by: [source, method, {header: x-user}]}") == wire.Admission(
        rate=wire.RateLimit(
            requests=200,
            period_ms=1000,
            by=[wire.RateKey(source=True), wire.RateKey(method=True), wire.RateKey(header="x-user")],
        )
    )
    assert told("concurrency: 7\nrate_limit: {requests: 5, per: 1m, burst: 9}") == wire.Admission(
        concurrency=7, rate=wire.RateLimit(requests=5, period_ms=60_000, burst=9)
    )
    assert told("rate_limit: {requests: 5, algorithm: sliding_window}") == wire.Admission(
        rate=wire.RateLimit(requests=5, period_ms=1000, algorithm=wire.RATE_ALGORITHM_SLIDING_WINDOW)
    )
    assert told("protocol: grpc") is None


def test_what_consul_calls_bytes_has_no_limit_of_requests() -> None:
    world = world_of({"services/orders.yaml": "concurrency: 7"})
    for protocol, expected in (("http", 7), ("tcp", 0)):
        said = world.apply(ChainsUpdate({"orders": Chain(protocol=protocol)}))
        inbound = compile(said, SidecarRole("orders"), 1).listeners[0]
        assert (inbound.name, inbound.admission.concurrency) == ("inbound", expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("concurrency: 0", "expected: at least 1"),
        ("rate_limit: {}", "requests"),
        ("rate_limit: {requests: 0}", "expected: at least 1"),
        ("rate_limit: {requests: 5, per: 0s}", "this must be longer than 0"),
        ("rate_limit: {requests: 5, per: 48h}", "24h at most"),
        ("rate_limit: {requests: 5, by: [{header: X-User}]}", "x-user"),
        ("rate_limit: {requests: 5, by: [sources]}", "source"),
        ("rate_limit: {requests: 5, algorithm: fixed_window}", "sliding_window"),
        ("rate_limit: {requests: 5, burst: 9, algorithm: sliding_window}", "a sliding window has no burst"),
        ("protocol: tcp\nconcurrency: 5", "`concurrency` is about requests"),
        ("protocol: tcp\nrate_limit: {requests: 5}", "`rate_limit` is about requests"),
    ],
)
def test_what_cannot_be_is_refused(text: str, words: str) -> None:
    problems = [f"{problem}" for problem in problems_of(text, "services/orders.yaml")]
    assert any(words in problem for problem in problems), problems
