"""Every failure is explained: to callers inside the mesh in full, to others in short, to operators as a story.

edge, web → mTLS → the sidecar of `private`, which lets nobody in, or anybody.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import grpc.aio
import pytest

from tests.e2e.conftest import Running, live
from tests.mesh import Proxy, eventually
from tests.peers.grpc_app import calling, grpc_app
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, Request

SHORT = "The caller may not do this."
CALL = Request("POST", "/test.Service/Get", host="private", fields={"content-type": "application/grpc"})


@pytest.fixture(scope="module")
def private(running: Running) -> Iterator[Proxy]:
    """The sidecar of the gRPC service `private`, which lets nobody in."""
    with grpc_app() as app, running.with_sidecar("private", app.port, protocol="grpc", allow=[]) as sidecar:
        yield sidecar


def ask(proxy: str, *requests: Request) -> list[Answer]:
    """Answers to these, on one connection."""
    with Http1.connect(proxy) as client:
        return [client.ask(request) for request in requests]


def sidecar(running: Running, *arguments: str) -> tuple[int, Any]:
    """Exit code and JSON of the command `sidecar`."""
    environ = {**os.environ, "SIDECAR_RUN_DIR": str(running.mesh.config.parent / "run")}
    command = [sys.executable, "-m", "sidecar", *arguments, "--json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode in (0, 3), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_the_mesh_is_told_why_and_others_in_short(running: Running, private: Proxy) -> None:
    (told,) = ask(running.web.outbound, Request(host="private"))
    assert (told.status, told.fields["x-sidecar-reason"]) == (403, "not-allowed")
    assert "no rule of `allow` in services/private.yaml" in json.loads(told.body)["detail"]

    # The connection goes on after each of them.
    first, second = ask(running.edge.edge, Request(host="private"), Request(host="private"))
    for answer in (first, second):
        assert (answer.status, answer.fields["content-type"]) == (403, "application/problem+json")
        assert "x-sidecar-reason" not in answer.fields
        problem = json.loads(answer.body)
        assert problem == {
            "type": "about:blank",
            "title": SHORT,
            "status": 403,
            "instance": answer.fields["x-request-id"],
        }
    assert first.fields["x-request-id"] != second.fields["x-request-id"]


def test_an_answer_without_content_tells_no_more(running: Running, private: Proxy) -> None:
    refused, after = ask(running.edge.edge, Request("HEAD", host="private"), Request(host="private"))
    assert (refused.status, refused.body, after.status) == (403, b"", 403)
    assert "x-sidecar-reason" not in refused.fields


def test_a_call_gets_its_status_in_short(running: Running, private: Proxy) -> None:
    with Http2.connect(running.web.outbound) as web, Http2.connect(running.edge.edge) as edge:
        inside, outside = web.ask(CALL), edge.ask(CALL)
    assert inside.fields["x-sidecar-reason"] == "not-allowed"
    assert "no rule of `allow`" in inside.fields["grpc-message"]
    assert (outside.fields["grpc-status"], outside.fields["grpc-message"]) == ("7", SHORT)
    assert "x-sidecar-reason" not in outside.fields


async def test_a_call_that_is_ended_on_its_way_tells_no_more(running: Running, private: Proxy) -> None:
    written = {"protocol": "grpc", "endpoints": [{"address": private.inbound}]}
    running.mesh.document("services/private", **written)
    live(private, "service", "private", written)
    async with calling(running.edge.edge, "private") as outside, calling(running.web.outbound, "private") as inside:
        calls = [outside.conversation(), inside.conversation()]
        for call in calls:
            await call.write(b"hello")
            assert await call.read() == b"HELLO"
        running.mesh.document("services/private", **written, allow=[])
        details, told = [], []
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await call.read()
            assert ended.value.code() is grpc.StatusCode.PERMISSION_DENIED
            details.append(ended.value.details())
            told.append("x-sidecar-reason" in dict(ended.value.trailing_metadata()))
    assert details[0] == SHORT
    assert "no rule of `allow`" in str(details[1])
    assert told == [False, True]


def test_why_joins_what_the_gateway_and_the_sidecar_know(running: Running, private: Proxy) -> None:
    (answer,) = ask(running.edge.edge, Request(host="private", path="/tea"))
    request = answer.fields["x-request-id"]

    def whole() -> Any:
        # Records stand there a moment after the answer does.
        stories = sidecar(running, "why", request)[1]["stories"]
        return stories if len(stories) == 1 and stories[0]["below"] else None

    (story,) = eventually("the story", whole, within=20)
    (below,) = story["below"]
    assert (story["instance"]["name"], story["status"], story["reason"]) == ("edge", 403, "")
    assert story["told"]["reason"] == "not-allowed"
    assert (below["instance"]["name"], below["path"], below["peer"]) == (
        "private",
        "/tea",
        "spiffe://mesh.local/ns/default/dc/dc1/svc/edge",
    )
    verdict = story["verdict"]
    assert (verdict["who"], verdict["reason"]) == ("sidecar private (inbound)", "not-allowed")
    assert "services/private.yaml" in verdict["origin"]
    assert "`allow`" in verdict["rule"]
    assert "`allow`" in verdict["next"]


def test_what_would_become_of_a_request_is_known_live(running: Running, private: Proxy) -> None:
    code, (web, callee) = sidecar(running, "explain", "GET", "http://private/tea", "--at", "web")
    assert code == 3
    assert (web["name"], web["destinations"][0]["cluster"]) == ("web", "private")
    assert (callee["name"], callee["from"]) == ("private", "spiffe://mesh.local/ns/default/dc/dc1/svc/web")
    assert "no rule of `allow`" in callee["refused"]
    assert callee["route"] is not None
