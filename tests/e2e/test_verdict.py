"""Whose fault it was: what the end of a call says of the endpoint that answered it, by HTTP status and by gRPC's."""

import asyncio
import json
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.e2e.conftest import Running, failures
from tests.mesh import Proxy, eventually
from tests.peers import http1, http2
from tests.peers.grpc_app import SERVICE, calling, grpc_app
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, Request, sized

PATIENCE = 20.0
# Failures and overloads.
Counts = tuple[int, int]


def counted(proxy: Proxy, service: str) -> Counts:
    """What the only endpoint of a service is blamed for."""
    clusters = json.loads(proxy.get("/api/v1/clusters")[1])["clusters"]
    (endpoint,) = next(cluster["endpoints"] for cluster in clusters if cluster["name"] == service)
    return endpoint["failures_total"], endpoint["overloads_total"]


def eventually_counted(proxy: Proxy, service: str, expected: Counts) -> None:
    """A verdict is told when the call's last byte has left, which the caller may see first."""
    eventually(f"{expected} of {service}", lambda: counted(proxy, service) == expected)


def as_asked(request: Request) -> Answer:
    """The status that the path says; with a query an answer tells when to come back."""
    path, _, wait = request.path.partition("?")
    return Answer(int(path[1:]), {**sized(b""), **({"retry-after": "1"} if wait else {})})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/200", (0, 0)),
        ("/404", (0, 0)),
        ("/429", (0, 1)),
        ("/500", (1, 0)),
        ("/503", (1, 0)),
        ("/503?wait", (0, 1)),
    ],
)
def test_an_answer_is_judged_by_its_status(running: Running, path: str, expected: Counts) -> None:
    with http1.server(as_asked) as app, Http1.connect(running.web.outbound) as client:
        service = running.service(app.address)
        client.ask(Request(path=path, host=service))
        # The next exchange on this connection begins after the end of the last.
        client.ask(Request(path="/200", host=service))
        assert counted(running.web, service) == expected


def test_a_document_says_which_statuses_are_failures(running: Running) -> None:
    with http1.server(as_asked) as app, Http1.connect(running.web.outbound) as client:
        service = running.service(app.address, failures={"statuses": ["404-410", 502]})
        for path in ("/404", "/410", "/411", "/500", "/502", "/200"):
            client.ask(Request(path=path, host=service))
        assert counted(running.web, service) == (3, 0)


def test_a_reset_is_the_endpoints_fault(running: Running) -> None:
    def resets(peer: Http1) -> None:
        peer.take()
        peer.reset()

    with http1.scripted_server(resets) as app, Http1.connect(running.web.outbound) as client:
        service = running.service(app.address)
        assert client.ask(Request(host=service)).status == 502
        eventually_counted(running.web, service, (1, 0))


async def test_a_call_is_judged_by_the_status_in_its_trailers(running: Running) -> None:
    with grpc_app() as app:
        service = running.service(f"127.0.0.1:{app.port}", protocol="grpc")
        async with calling(running.web.outbound, service) as stub:
            await stub.unary(b"", timeout=PATIENCE)
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.fail(b"no", timeout=PATIENCE)
            assert await asyncio.to_thread(counted, running.web, service) == (0, 0)

            failures = {"grpc": ["failed-precondition"]}
            await asyncio.to_thread(
                running.service, f"127.0.0.1:{app.port}", name=service, protocol="grpc", failures=failures
            )
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await stub.fail(b"no", timeout=PATIENCE)
            assert failed.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            await asyncio.to_thread(eventually_counted, running.web, service, (1, 0))


def test_an_answer_to_a_call_that_ends_without_a_status_is_a_failure_with_its_reason(running: Running) -> None:
    kind = {"content-type": "application/grpc"}

    def as_asked(request: Request) -> Answer:
        trailers = {"/a.B/Bare": {}, "/a.B/Half": {"x-other": "1"}, "/a.B/Whole": {"grpc-status": "0"}}
        return Answer(200, kind, bytes(5), trailers[request.path])

    def told(path: str) -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            return next((failure for failure in failures(running.web, service) if failure["path"] == path), None)

        return eventually(f"a failure of {path}", find)

    with http2.server(as_asked) as app, Http2.connect(running.web.outbound) as client:
        service = running.service(app.address, protocol="grpc")
        for path in ("/a.B/Bare", "/a.B/Half"):
            answer = client.ask(Request("POST", path, service, kind, bytes(5)))
            assert (answer.status, answer.body, "grpc-status" in answer.trailers) == (200, bytes(5), False)
            failure = told(path)
            assert (failure["reason"], failure["grpc_status"]) == ("missing-status", "UNKNOWN")
            assert [attempt["why"] for attempt in failure["attempts"]] == ["missing-status"]
        client.ask(Request("POST", "/a.B/Whole", service, kind, bytes(5)))
        eventually_counted(running.web, service, (2, 0))
        assert {failure["path"] for failure in failures(running.web, service)} == {"/a.B/Bare", "/a.B/Half"}


async def test_who_gives_up_does_not_blame_the_endpoint(running: Running) -> None:
    with grpc_app() as app:
        service = running.service(f"127.0.0.1:{app.port}", protocol="grpc")
        async with calling(running.web.outbound, service) as stub:
            call = stub.hang(b"")
            assert await asyncio.to_thread(app.begun.wait, PATIENCE)
            call.cancel()
            assert await asyncio.to_thread(app.cancelled.wait, PATIENCE)
            assert await asyncio.to_thread(counted, running.web, service) == (0, 0)


def test_a_call_whose_time_is_over_blames_the_endpoint(running: Running) -> None:
    """It names its time, and does not look at a clock itself: on a machine that stands still it would end the call."""
    kind = {"content-type": "application/grpc", "te": "trailers", "grpc-timeout": "300m"}
    with grpc_app() as app, Http2.connect(running.web.outbound) as client:
        service = running.service(f"127.0.0.1:{app.port}", protocol="grpc")
        answer = client.ask(Request("POST", f"/{SERVICE}/Hang", service, kind, bytes(5)))
        assert answer.fields["grpc-status"] == str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
        eventually_counted(running.web, service, (1, 0))
