"""`health_check` and `mirror` of a service's document."""

import pytest

from sidecar.config.load import load
from sidecar.config.model import Service
from sidecar.errors import Problem
from tests.unit.documents import problems_of

ENDPOINTS = "endpoints: [{address: 127.0.0.1:21003}]\n"


def only_problem(text: str) -> Problem:
    (problem,) = problems_of(ENDPOINTS + text, "services/orders.yaml")
    return problem


def test_a_check_is_read_and_what_it_leaves_out_has_a_default() -> None:
    model = load("services/orders.yaml", b"health_check: {http: /healthz?deep=1}").model

    assert isinstance(model, Service)
    check = model.health_check
    assert check is not None
    assert (check.question, check.http, check.statuses) == ("http", "/healthz?deep=1", ((200, 299),))
    assert (check.interval.total_seconds(), check.timeout.total_seconds()) == (10, 2)
    assert (check.healthy_threshold, check.unhealthy_threshold) == (2, 3)


@pytest.mark.parametrize(
    ("check", "message", "expected"),
    [
        ("{interval: 5s}", "nothing is asked", "`http`, `grpc`, `tcp`"),
        ("{http: /a, tcp: true}", "one question is enough", ""),
        ("{tcp: false}", "`false` asks for nothing", "`tcp: true`"),
        ("{http: healthz}", "`healthz` is no path", "/healthz"),
        ("{http: '/a b'}", "`/a b` is no path", "/healthz"),
        ("{grpc: a.B}", "with `protocol: http` nobody answers this", "`http` or `tcp`"),
        ("{tcp: true, statuses: [200]}", "`statuses` are those of `http`", ""),
        ("{http: /a, statuses: [6xx]}", "`6xx` is no status of HTTP", "500-599"),
        ("{http: /a, interval: 1ms}", "more often than this", "at least 10ms"),
        ("{http: /a, timeout: 0s}", "longer than 0", ""),
    ],
)
def test_a_check_that_cannot_be_is_refused(check: str, message: str, expected: str) -> None:
    problem = only_problem(f"health_check: {check}\n")

    assert message in problem.message
    assert expected in problem.expected


def test_bytes_that_nobody_reads_are_asked_for_no_answer() -> None:
    tcp = "protocol: tcp\nhealth_check: "
    assert "with `protocol: tcp`" in only_problem(f"{tcp}{{http: /a}}\n").message
    assert load("services/orders.yaml", f"{tcp}{{tcp: true}}\n".encode()).key.name == "orders"


@pytest.mark.parametrize(
    ("mirror", "message", "hint"),
    [
        ("{to: {}}", "this leads to nobody else", ""),
        ("{to: {subset: v2}}", "this service has no subset `v2`", ""),
        ("{to: {subset: v1}, share: 0%}", "nobody is copied", "leave `mirror` out"),
        ("{share: 10%}", "to", ""),
    ],
)
def test_a_mirror_that_leads_nowhere_is_refused(mirror: str, message: str, hint: str) -> None:
    problem = only_problem(f"subsets: {{v1: {{where: 'meta.version == \"1\"'}}}}\nmirror: {mirror}\n")

    assert message in problem.message
    assert problem.hint == hint
