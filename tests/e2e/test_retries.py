"""What is tried again, where, how often, and what is not."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.conftest import Running, last_failure
from tests.mesh import Proxy, eventually
from tests.peers import http1, http2
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, App, Request, sized
from tests.peers.scripted import ScriptedServer

GRPC = {"content-type": "application/grpc"}
# One message of no bytes: its prefix (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
MESSAGE = bytes(5)
FINE = Answer(200, sized(b"fine"), b"fine")


@dataclass
class Seen:
    """An endpoint, and what it was asked."""

    address: str = ""
    requests: list[Request] = field(default_factory=list)


@contextmanager
def endpoints(
    serve: Callable[[App], ScriptedServer[Any]], *answers: Callable[[Request], Answer]
) -> Iterator[list[Seen]]:
    """Servers that note what they are asked, one for each way to answer."""
    with ExitStack() as stack:
        found = []
        for answer in answers:
            seen = Seen()

            def app(request: Request, seen: Seen = seen, answer: Callable[[Request], Answer] = answer) -> Answer:
                seen.requests.append(request)
                return answer(request)

            seen.address = stack.enter_context(serve(app)).address
            found.append(seen)
        yield found


def always(answer: Answer) -> Callable[[Request], Answer]:
    return lambda request: answer


def call_ended(status: int, **fields: str) -> Answer:
    """A gRPC answer whose status comes in trailers, after a head that says nothing."""
    return Answer(200, GRPC, b"", {"grpc-status": str(status), **fields})


OK_CALL = Answer(200, GRPC, MESSAGE, {"grpc-status": "0"})


def tries(*seen: Seen) -> int:
    return sum(len(endpoint.requests) for endpoint in seen)


def call(proxy: Proxy, service: str, **fields: str) -> Answer:
    with Http2.connect(proxy.outbound) as client:
        return client.ask(Request("POST", "/pkg.Service/Method", service, {**GRPC, **fields}, MESSAGE))


def ask(proxy: Proxy, request: Request) -> Answer:
    with Http1.connect(proxy.outbound) as client:
        return client.ask(request)


def test_a_call_that_fails_in_its_trailers_is_answered_by_another_endpoint(running: Running) -> None:
    with endpoints(http2.server, always(call_ended(14)), always(OK_CALL)) as (bad, good):
        service = running.service(bad.address, good.address, protocol="grpc", load_balancer="round_robin")
        answers = [call(running.web, service) for _ in range(6)]

        assert [answer.trailers["grpc-status"] for answer in answers] == ["0"] * 6
        assert [answer.body for answer in answers] == [MESSAGE] * 6
        assert len(bad.requests) >= 2
        told = [request.fields.get("grpc-previous-rpc-attempts") for request in good.requests]
        assert told.count("1") == len(bad.requests)
        assert told.count(None) == 6 - len(bad.requests)
        assert {request.body for request in good.requests} == {MESSAGE}


def test_a_status_that_the_route_does_not_name_is_passed_on(running: Running) -> None:
    with endpoints(http2.server, always(call_ended(13, **{"grpc-message": "no"}))) as (bad,):
        service = running.service(bad.address, protocol="grpc")
        answer = call(running.web, service)

        assert (answer.trailers["grpc-status"], answer.trailers["grpc-message"]) == ("13", "no")
        assert tries(bad) == 1


def test_the_last_failure_is_passed_on_as_it_came(running: Running) -> None:
    with endpoints(http2.server, always(call_ended(14, **{"x-last": "words"}))) as (bad,):
        service = running.service(bad.address, protocol="grpc")
        answer = call(running.web, service)

        assert (answer.trailers["grpc-status"], answer.trailers["x-last"]) == ("14", "words")
        assert tries(bad) == 3


@pytest.mark.parametrize(("condition", "tried"), [("5xx", 3), ("gateway-error", 3), (503, 3), ("retriable-4xx", 1)])
def test_http_statuses_are_tried_again_where_the_document_says_so(
    running: Running, condition: str | int, tried: int
) -> None:
    failed = Answer(503, sized(b"no"), b"no")
    with endpoints(http1.server, always(failed)) as (bad,):
        service = running.service(bad.address, retry={"on": [condition]})
        answer = ask(running.web, Request("POST", "/", service, sized(b"content"), b"content"))

        assert (answer.status, answer.body) == (503, b"no")
        assert [request.body for request in bad.requests] == [b"content"] * tried


def test_without_being_asked_no_http_answer_is_tried_again(running: Running) -> None:
    with endpoints(http1.server, always(Answer(503, sized(b"")))) as (bad,):
        service = running.service(bad.address)

        assert ask(running.web, Request(host=service)).status == 503
        assert tries(bad) == 1


def test_an_endpoint_that_breaks_off_is_left_for_another_one(running: Running) -> None:
    def resets(peer: Http1) -> None:
        peer.take()
        peer.reset()

    with http1.scripted_server(resets) as bad, endpoints(http1.server, always(FINE)) as (good,):
        addresses = (bad.address, good.address)
        eager = running.service(*addresses, retry={"on": ["reset"]}, load_balancer="round_robin")
        assert [ask(running.web, Request(host=eager)).status for _ in range(4)] == [200] * 4
        assert bad.accepted >= 1

        careful = running.service(*addresses, load_balancer="round_robin")
        assert sorted(ask(running.web, Request(host=careful)).status for _ in range(4)) == [200, 200, 502, 502]


def test_an_endpoint_that_is_too_slow_is_left_for_another_one(running: Running) -> None:
    def hangs(peer: Http1) -> None:
        peer.take()
        peer.is_over()

    with http1.scripted_server(hangs) as slow, endpoints(http1.server, always(FINE)) as (good,):
        retry = {"attempts": 2, "per_try_timeout": "500ms"}
        service = running.service(slow.address, good.address, retry=retry, load_balancer="round_robin")
        assert [ask(running.web, Request(host=service)).status for _ in range(2)] == [200, 200]
        assert slow.accepted >= 1

        running.service(slow.address, name=service, retry=retry, load_balancer="round_robin")
        assert ask(running.web, Request(host=service)).status == 504
        attempts = last_failure(running.web, service)["attempts"]
        assert [attempt["why"] for attempt in attempts] == ["per-try-timeout"] * 2


def test_an_endpoint_that_asks_for_no_retry_gets_none_and_one_that_asks_for_time_has_it(running: Running) -> None:
    pushes = {"grpc-retry-pushback-ms": "-1"}
    with endpoints(http2.server, always(call_ended(14, **pushes))) as (bad,):
        service = running.service(bad.address, protocol="grpc")
        assert call(running.web, service).trailers["grpc-status"] == "14"
        assert tries(bad) == 1

    pushes = {"grpc-retry-pushback-ms": "300"}
    with endpoints(http2.server, always(call_ended(14, **pushes))) as (bad,):
        service = running.service(bad.address, protocol="grpc", retry={"attempts": 2})
        began = time.monotonic()
        assert call(running.web, service).trailers["grpc-status"] == "14"
        assert tries(bad) == 2
        assert time.monotonic() - began >= 0.3

    # A call that would be over by then is not tried again.
    pushes = {"grpc-retry-pushback-ms": "9000"}
    with endpoints(http2.server, always(call_ended(14, **pushes))) as (bad,):
        service = running.service(bad.address, protocol="grpc", retry={"attempts": 2})
        call(running.web, service, **{"grpc-timeout": "8S"})
        assert tries(bad) == 1


def test_an_endpoint_whose_proxy_is_busy_is_not_waited_for_while_another_one_is_free(running: Running) -> None:
    busy = Answer(503, {**sized(b""), "retry-after": "9", "x-sidecar-reason": "concurrency-limit"})
    with endpoints(http1.server, always(busy), always(FINE)) as (full, free):
        retry = {"attempts": 2, "on": ["5xx"]}
        # An ejection would hide what becomes of the second request.
        settings: dict[str, Any] = {
            "retry": retry,
            "load_balancer": "round_robin",
            "timeout": "5s",
            "outlier_detection": {"enabled": False},
        }
        service = running.service(full.address, free.address, **settings)
        assert [ask(running.web, Request(host=service)).status for _ in range(4)] == [200] * 4
        before = tries(full)
        assert before >= 1

        running.service(full.address, name=service, **settings)
        assert ask(running.web, Request(host=service)).status == 503
        assert tries(full) == before + 1, "nine seconds are more than the request has"


def test_a_call_that_has_begun_to_answer_is_not_tried_again(running: Running) -> None:
    with endpoints(http2.server, always(Answer(200, GRPC, MESSAGE, {"grpc-status": "14"}))) as (bad,):
        service = running.service(bad.address, protocol="grpc")
        answer = call(running.web, service)

        assert (answer.body, answer.trailers["grpc-status"]) == (MESSAGE, "14")
        assert tries(bad) == 1


def test_a_call_that_still_sends_gets_the_head_of_its_answer_at_once(running: Running) -> None:
    def answers_early(peer: Http2) -> None:
        stream = peer.next_stream()
        peer.respond(stream, 200, {**GRPC, "x-early": "1"})
        peer.take(stream)
        peer.trailers(stream, {"grpc-status": "14"})
        peer.until(lambda: False)

    with http2.scripted_server(answers_early) as server, Http2.connect(running.web.outbound) as client:
        service = running.service(server.address, protocol="grpc")
        stream = client.request(Request("POST", "/pkg.Service/Method", service, GRPC, MESSAGE), end=False)
        client.until(lambda: bool(stream.fields), stream)
        client.data(stream, b"", end=True)
        assert client.answer(stream).trailers["grpc-status"] == "14"
        assert server.accepted == 1


def test_retries_have_a_budget(running: Running) -> None:
    with endpoints(http1.server, always(Answer(503, sized(b"")))) as (bad,):
        service = running.service(bad.address, retry={"attempts": 2, "on": [503], "budget": "10%"})
        with Http1.connect(running.web.outbound) as client:
            for _ in range(100):
                client.ask(Request(host=service))

        # 30 in any case, and a tenth of the requests.
        assert 130 <= tries(bad) <= 141


def test_a_large_request_is_sent_once(running: Running) -> None:
    with endpoints(http1.server, always(Answer(503, sized(b"")))) as (bad,):
        service = running.service(bad.address, retry={"on": [503]})
        for size, tried in ((64 * 1024, 3), (64 * 1024 + 1, 1)):
            bad.requests.clear()
            ask(running.web, Request("POST", "/", service, sized(bytes(size)), bytes(size)))
            assert [len(request.body) for request in bad.requests] == [size] * tried


def test_a_mistake_in_a_retry_is_named(running: Running) -> None:
    running.mesh.text("services/odd", "retry: {on: [unavailible], backoff: {base: 2s, max: 1s}}")

    def told() -> str | None:
        refusals = json.dumps(json.loads(running.web.get("/ready")[1]))
        return refusals if "unavailible" in refusals else None

    try:
        found = eventually("the refusal", told, within=10)
    finally:
        (running.mesh.config / "services/odd.yaml").unlink()
    assert "did you mean `unavailable`?" in found
    assert "the longest wait is shorter" in found
