"""Answers that a gateway compresses for those who take that, and requests that it decompresses."""

import gzip
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.conftest import last_failure
from tests.mesh import LOOPBACK, Mesh, Proxy, eventually
from tests.peers import http1, scripted
from tests.peers.http1 import Http1, encoded
from tests.peers.http2 import Http2
from tests.peers.message import Answer, Request, sized

TEXT = b"all that is written more than once becomes short; " * 200
ZEROS = bytes(1 << 20)
EVENTS = (b"data: 1\n\n", b"data: 2\n\n")
PLAIN = {"content-type": "text/plain; charset=utf-8"}

# What answers say, by the path of the request, and whether they are compressed.
ANSWERS = {
    "/text": (Answer(200, {**PLAIN, **sized(TEXT), "etag": '"a"', "accept-ranges": "bytes"}, TEXT), True),
    "/chunked": (Answer(200, {**PLAIN, "etag": 'W/"a"', "vary": "origin"}, TEXT, {"x-sum": "1"}), True),
    "/error": (Answer(404, {"content-type": "application/json", **sized(TEXT)}, TEXT), True),
    "/small": (Answer(200, {**PLAIN, **sized(TEXT[:999])}, TEXT[:999]), False),
    "/image": (Answer(200, {"content-type": "image/png", **sized(TEXT)}, TEXT), False),
    "/unknown": (Answer(200, sized(TEXT), TEXT), False),
    "/coded": (Answer(200, {**PLAIN, **sized(TEXT), "content-encoding": "x-other"}, TEXT), False),
    "/kept": (Answer(200, {**PLAIN, **sized(TEXT), "cache-control": "public, no-transform"}, TEXT), False),
    "/part": (Answer(206, {**PLAIN, **sized(TEXT), "content-range": "bytes 0-9999/20000"}, TEXT), False),
    "/none": (Answer(204, {"etag": '"a"'}), False),
    "/same": (Answer(304, {**PLAIN, "etag": '"a"'}), False),
}


def application(request: Request) -> Answer:
    """An answer by its path; what was sent to /echo comes back, with the fields that tell of it."""
    if request.path != "/echo":
        return ANSWERS[request.path][0]
    told = {f"x-got-{name}": request.fields.get(name, "-") for name in ("content-encoding", "content-length")}
    return Answer(200, {**told, **sized(request.body)}, request.body)


@dataclass
class Coding:
    """A gateway before that application, each of whose routes is for the host of its name: text.test."""

    proxy: Proxy

    def ask(self, path: str, accept: str | None = "gzip", host: str = "text.test", method: str = "GET") -> Answer:
        fields = {} if accept is None else {"accept-encoding": accept}
        with Http1.connect(self.proxy.edge) as client:
            return client.ask(Request(method, path, host, fields))

    def send(self, body: bytes, encoding: str, host: str = "small.test", **fields: str) -> Answer:
        """What comes of content that is said to be coded so."""
        with Http1.connect(self.proxy.edge) as client:
            return client.ask(
                Request("POST", "/echo", host, {"content-encoding": encoding, **fields, **sized(body)}, body)
            )


@pytest.fixture(scope="module")
def coding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coding]:
    with http1.server(application) as server, Mesh(tmp_path_factory.mktemp("coding")) as mesh:
        mesh.document("services/shop", tls="disabled", endpoints=[{"address": server.address}])

        def route(name: str, **fields: Any) -> dict[str, Any]:
            return {"name": name, "match": {"host": f"{name}.test"}, "to": {"service": "shop"}, **fields}

        document: dict[str, Any] = {
            "listeners": [LOOPBACK],
            "compress": {},
            "routes": [
                route("text"),
                route("br", compress={"encodings": ["br", "gzip"], "content_types": ["image/*"], "min_size": "1B"}),
                route("none", compress={"encodings": []}),
                route("small", decompress={"max_size": "256KiB"}),
                route("dense", decompress={"max_ratio": 20}),
            ],
        }
        mesh.document("gateways/edge", **document)
        yield Coding(mesh.gateway("edge"))


@pytest.mark.parametrize("path", ANSWERS)
def test_text_is_compressed_and_all_else_goes_on_as_it_is(coding: Coding, path: str) -> None:
    given, is_compressed = ANSWERS[path]
    answer = coding.ask(path)

    assert answer.status == given.status
    if is_compressed:
        assert answer.fields["content-encoding"] == "gzip"
        assert gzip.decompress(answer.body) == given.body
        assert len(answer.body) < len(TEXT) // 10
        assert not {"content-length", "accept-ranges"} & answer.fields.keys()
        assert "accept-encoding" in answer.fields["vary"]
        assert answer.fields.get("etag", 'W/"a"') == 'W/"a"', "two codings of it are not the same bytes"
    else:
        assert (answer.body, answer.fields.get("etag")) == (given.body, given.fields.get("etag"))
        assert answer.fields.get("content-encoding") == given.fields.get("content-encoding")
        assert "vary" not in answer.fields


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=0.9, br;q=1.0, zstd;q=0.1", "br"),
        ("*", "zstd"),
        ("gzip;q=0", None),
        ("identity", None),
        (None, None),
    ],
)
def test_the_client_says_what_it_takes(coding: Coding, accept: str | None, expected: str | None) -> None:
    answer = coding.ask("/text", accept)
    assert (answer.fields.get("content-encoding"), answer.fields["vary"]) == (expected, "accept-encoding")
    assert (answer.body == TEXT) == (expected is None)


def test_a_head_request_and_one_that_forbids_it_are_left_alone(coding: Coding) -> None:
    head = coding.ask("/text", method="HEAD")
    assert (head.fields["content-length"], head.fields["etag"]) == (str(len(TEXT)), '"a"')
    assert "content-encoding" not in head.fields
    with Http1.connect(coding.proxy.edge) as client:
        fields = {"accept-encoding": "gzip", "cache-control": "no-transform"}
        assert client.ask(Request("GET", "/text", "text.test", fields)).body == TEXT


def test_a_route_says_it_in_the_gateways_place(coding: Coding) -> None:
    assert coding.ask("/image", "zstd, gzip, br", "br.test").fields["content-encoding"] == "br"
    assert coding.ask("/text", "br", "br.test").body == TEXT
    assert coding.ask("/text", "gzip", "none.test").body == TEXT


def test_http2_clients_get_it_too(coding: Coding) -> None:
    with Http2.connect(coding.proxy.edge) as client:
        for path in ("/text", "/chunked"):
            answer = client.ask(Request("GET", path, "text.test", {"accept-encoding": "gzip"}))
            assert (answer.fields["content-encoding"], gzip.decompress(answer.body)) == ("gzip", TEXT)
            assert answer.trailers == ANSWERS[path][0].trailers


def test_grpc_is_never_compressed_again(mesh: Mesh) -> None:
    kinds = iter(("application/grpc", "application/grpc-web+proto"))
    body = b"\0\0\0\0\x05AAAAA"

    def call(request: Request) -> Answer:
        return Answer(200, {"content-type": next(kinds)}, body, {"grpc-status": "0"})

    with http1.server(call) as server:
        mesh.document("services/shop", tls="disabled", endpoints=[{"address": server.address}])
        everything = {"content_types": ["application/*"], "min_size": "1B"}
        mesh.document(
            "gateways/edge",
            listeners=[LOOPBACK],
            routes=[{"name": "all", "to": {"service": "shop"}, "compress": everything}],
        )
        with Http2.connect(mesh.gateway("edge").edge) as client:
            for kind in ("application/grpc", "application/grpc-web+proto"):
                fields = {"content-type": kind, "accept-encoding": "gzip", "te": "trailers"}
                answer = client.ask(Request("POST", "/shop.Orders/Get", "shop.test", fields, body))
                assert (answer.body, answer.fields.get("content-encoding")) == (body, None)


@dataclass
class Stream:
    """Sends one event, and the next when it may."""

    go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, connection: Http1) -> None:
        connection.take()
        connection.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in EVENTS:
            connection.send(f"{len(event):x}\r\n", event, "\r\n")
            self.go.wait(scripted.PATIENCE)
        connection.send("0\r\n\r\n")


def test_an_event_leaves_when_it_comes(mesh: Mesh) -> None:
    stream = Stream()
    with scripted.ScriptedServer(Http1, stream) as server:
        mesh.document("services/feed", tls="disabled", endpoints=[{"address": server.address}])
        mesh.document(
            "gateways/edge", listeners=[LOOPBACK], routes=[{"name": "all", "to": {"service": "feed"}}], compress={}
        )
        with Http1.connect(mesh.gateway("edge").edge) as client:
            client.send(encoded(Request("GET", "/", "feed.test", {"accept-encoding": "gzip"})))
            head = client.head()
            assert head.fields["content-encoding"] == "gzip"
            inflate = zlib.decompressobj(wbits=31)
            read = b""
            while read != EVENTS[0]:
                read += inflate.decompress(client.chunk())
            stream.go.set()
            while piece := client.chunk():
                read += inflate.decompress(piece)
            assert (read, inflate.eof) == (b"".join(EVENTS), True)


def test_a_request_arrives_as_what_it_stands_for(coding: Coding) -> None:
    answer = coding.send(gzip.compress(TEXT), "gzip")
    assert answer.body == TEXT
    assert (answer.fields["x-got-content-encoding"], answer.fields["x-got-content-length"]) == ("-", "-")
    halves = gzip.compress(TEXT[:500]) + gzip.compress(TEXT[500:])
    assert coding.send(halves, "x-gzip").body == TEXT
    assert coding.send(TEXT, "identity").body == TEXT

    packed = gzip.compress(TEXT)
    untouched = coding.send(packed, "gzip", "text.test")
    assert (untouched.body, untouched.fields["x-got-content-encoding"]) == (packed, "gzip"), "the route does not ask"
    with Http2.connect(coding.proxy.edge) as client:
        fields = {"content-encoding": "gzip", **sized(packed)}
        assert client.ask(Request("POST", "/echo", "small.test", fields, packed)).body == TEXT


@pytest.mark.parametrize(
    ("body", "encoding", "host", "status", "reason"),
    [
        (gzip.compress(ZEROS), "gzip", "small.test", 413, "body-too-large"),
        (gzip.compress(ZEROS[: 250 << 10]), "gzip", "dense.test", 413, "body-too-large"),
        (gzip.compress(TEXT)[:-9], "gzip", "small.test", 400, "bad-request"),
        (TEXT, "gzip", "small.test", 400, "bad-request"),
        (TEXT, "deflate", "small.test", 415, "content-coding-refused"),
        (gzip.compress(gzip.compress(TEXT)), "gzip, gzip", "small.test", 415, "content-coding-refused"),
    ],
)
def test_what_is_too_much_broken_or_not_understood_is_refused(
    coding: Coding, body: bytes, encoding: str, host: str, status: int, reason: str
) -> None:
    answer = coding.send(body, encoding, host)
    assert answer.status == status
    assert answer.fields.get("accept-encoding") == ("zstd, br, gzip" if status == 415 else None)
    eventually(reason, lambda: last_failure(coding.proxy, host)["reason"] == reason)
