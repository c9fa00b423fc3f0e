"""gRPC-Web by hand on HTTP/1.1 and HTTP/2 to an app that speaks gRPC only: the first proxy that meets it translates."""

import base64
import struct
import threading
from collections.abc import Callable

import pytest
from h2.errors import ErrorCodes

from tests.e2e.conftest import Running, last_failure
from tests.mesh import eventually
from tests.peers import http1, http2
from tests.peers.grpc_app import SERVICE, GrpcApp
from tests.peers.grpc_web import BINARY, TEXT, Call, ask, framed, read, text, untext
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2, Stream
from tests.peers.message import Answer, App, CutOff, Ended, Request
from tests.peers.scripted import ScriptedServer

# Seconds; far above what anything here takes.
PATIENCE = 20.0
# Larger than every window and buffer on the way.
LARGE = 2 << 20
GRPC = {"content-type": "application/grpc+proto"}
OK = {"grpc-status": "0"}

Client = type[Http1] | type[Http2]
either = pytest.mark.parametrize("client", [Http1, Http2])
both_kinds = pytest.mark.parametrize("kind", [BINARY, TEXT])


def called(client: Client, address: str, request: Request) -> tuple[Answer, Call]:
    """The answer to one call, and what its content holds."""
    with client.connect(address) as caller:
        answer = caller.ask(request)
    return answer, read(answer)


@both_kinds
@either
def test_large_messages_pass_at_the_speed_of_the_slower(
    running: Running, echo: GrpcApp, client: Client, kind: str
) -> None:
    message = bytes(range(256)) * (LARGE // 256)
    _, call = called(client, running.edge.edge, ask("Unary", "echo", message, kind=kind))
    assert (call.messages == [message], call.status) == (True, "0")


@both_kinds
@either
@pytest.mark.parametrize("first", ["gateway", "sidecar"])
def test_a_call(running: Running, echo: GrpcApp, first: str, client: Client, kind: str) -> None:
    address = running.edge.edge if first == "gateway" else running.web.outbound
    answer, call = called(client, address, ask("Unary", "echo", b"hello" * 999, kind=kind, x_text="tea"))
    assert (answer.status, answer.fields["content-type"]) == (200, kind)
    assert answer.fields["first-x-text"] == "tea"
    assert call.messages == [b"hello" * 999]
    assert ("grpc-status", "0") in call.trailers
    assert ("last-x-text", "tea") in call.trailers
    assert answer.trailers == {}


def test_metadata_may_be_binary_and_come_twice(running: Running, echo: GrpcApp) -> None:
    binary = base64.b64encode(bytes(range(256))).decode().rstrip("=")
    _, call = called(Http1, running.edge.edge, ask("Unary", "echo", b"", x_raw_bin=binary))
    assert ("last-x-raw-bin", binary) in [(name, value.rstrip("=")) for name, value in call.trailers]
    _, call = called(Http1, running.edge.edge, ask("ServerStream", "echo", b"\x03abc"))
    assert call == Call([b"\x03abc"] * 3, call.trailers)
    assert ("x-sent", "3") in call.trailers


@both_kinds
@either
def test_an_error_of_the_app_keeps_its_status_and_words(
    running: Running, echo: GrpcApp, client: Client, kind: str
) -> None:
    answer, call = called(client, running.edge.edge, ask("Fail", "echo", b"no tea: 100 %", kind=kind))
    told = {**answer.fields, **dict(call.trailers)}
    assert (answer.status, told["grpc-status"], told["grpc-message"]) == (200, "9", "no tea: 100 %25")
    assert told["x-details-bin"].rstrip("=") == base64.b64encode(bytes(range(256))).decode().rstrip("=")


@both_kinds
def test_a_method_that_the_app_does_not_have(running: Running, echo: GrpcApp, kind: str) -> None:
    answer, call = called(Http1, running.edge.edge, ask("Unknown", "echo", b"", kind=kind))
    assert {**answer.fields, **dict(call.trailers)}["grpc-status"] == "12"


def test_text_may_be_padded_anywhere_and_come_in_any_pieces(running: Running, echo: GrpcApp) -> None:
    message = framed(bytes(range(256)))
    parts = [message[:1], message[1:3], message[3:10], message[10:]]
    body = text(*parts)
    with Http1.connect(running.edge.edge) as client:
        head = f"POST /{SERVICE}/Unary HTTP/1.1\r\nhost: echo\r\ncontent-type: {TEXT}\r\n"
        client.send(head, "transfer-encoding: chunked\r\n\r\n")
        for at in range(0, len(body), 7):
            piece = body[at : at + 7]
            client.send(f"{len(piece):x}\r\n", piece, "\r\n")
        client.send("0\r\n\r\n")
        assert read(client.answer()).messages == [bytes(range(256))]


@either
@pytest.mark.parametrize("body", [b"AAAA!AAA", b"AAAAA", b"A===", b"AAAAAB=="], ids=lambda body: body.decode())
def test_text_that_is_none_is_refused_as_a_call(running: Running, echo: GrpcApp, client: Client, body: bytes) -> None:
    request = Request("POST", f"/{SERVICE}/Unary", "echo", {"content-type": TEXT}, body)
    answer, _ = called(client, running.edge.edge, request)
    assert (answer.status, answer.fields["grpc-status"], answer.fields["content-type"]) == (200, "13", TEXT)
    assert last_failure(running.edge, "echo")["reason"] == "bad-request"


@both_kinds
def test_a_conversation_is_not_held_back(running: Running, echo: GrpcApp, kind: str) -> None:
    write, back = (text, untext) if kind == TEXT else (bytes, bytes)
    with Http1.connect(running.edge.edge) as client:
        head = f"POST /{SERVICE}/Conversation HTTP/1.1\r\nhost: echo\r\ncontent-type: {kind}\r\n"
        client.send(head, "transfer-encoding: chunked\r\n\r\n")
        answered: http1.Head | None = None
        for message in (b"one", b"three"):
            piece = write(framed(message))
            client.send(f"{len(piece):x}\r\n", piece, "\r\n")
            answered = answered or client.head()
            assert back(client.chunk()) == framed(message.upper())
        client.send("0\r\n\r\n")
        rest = b"".join(iter(client.chunk, b""))
    assert answered is not None
    assert back(rest)[5:].startswith(b"grpc-status: 0\r\n")


@pytest.mark.parametrize(("protocol", "serving"), [("http", http1.server), ("http2", http2.server)])
def test_an_app_that_speaks_it_itself_gets_it_as_it_is(
    running: Running, protocol: str, serving: Callable[[App], ScriptedServer[Http1] | ScriptedServer[Http2]]
) -> None:
    got: list[Request] = []
    says = Answer(200, {"content-type": BINARY}, framed(b"own") + b"\x80\0\0\0\x10grpc-status: 0\r\n")

    def app(request: Request) -> Answer:
        got.append(request)
        return says

    with serving(app) as server:
        service = running.service(server.address, protocol=protocol)
        request = ask("Unary", service, b"mine", kind=TEXT, connect_timeout_ms="5000")
        answer, call = called(Http1, running.web.outbound, request)
    assert (got[0].fields["content-type"], got[0].body) == (TEXT, request.body)
    assert got[0].fields["connect-timeout-ms"] == "5000"
    assert (answer.body, call) == (says.body, Call([b"own"], [("grpc-status", "0")]))


# --- calls that end before their end ----------------------------------------------------------------------------------


def grpc_server(script: Callable[[Http2, Stream], None]) -> ScriptedServer[Http2]:
    """A gRPC server that takes one call after the other, and treats each as `script` says."""

    def serve(peer: Http2) -> None:
        while True:
            stream = peer.next_stream()
            peer.take(stream)
            script(peer, stream)

    return http2.scripted_server(serve)


def hangs_after(content: bytes, codes: list[int | None]) -> ScriptedServer[Http2]:
    """A server that sends so much of an answer, and notes how the call is reset."""

    def script(peer: Http2, stream: Stream) -> None:
        peer.respond(stream, fields=GRPC)
        peer.data(stream, content)
        peer.until(lambda: stream.reset is not None)
        codes.append(stream.reset)

    return grpc_server(script)


@both_kinds
@either
def test_the_callers_deadline_ends_a_call_that_is_not_answered(
    running: Running, echo: GrpcApp, client: Client, kind: str
) -> None:
    echo.forget()
    request = ask("Hang", "echo", b"", kind=kind, grpc_timeout="300m")
    answer, _ = called(client, running.edge.edge, request)
    assert (answer.status, answer.fields["grpc-status"], answer.fields["content-type"]) == (200, "4", kind)
    assert echo.cancelled.wait(PATIENCE)
    _, call = called(client, running.edge.edge, ask("Tell", "echo", b"", kind=kind, grpc_timeout="9S"))
    assert 0 < float(call.messages[0]) <= 9


@either
@pytest.mark.parametrize("kind", [BINARY, TEXT, "application/grpc+proto"])
def test_the_deadline_ends_an_answer_that_has_begun_with_its_status(
    running: Running, client: Client, kind: str
) -> None:
    codes: list[int | None] = []
    with hangs_after(framed(b"first"), codes) as server:
        service = running.service(server.address, protocol="grpc")
        with client.connect(running.web.outbound) as caller:
            request = ask("Unary", service, b"", kind=kind, te="trailers", grpc_timeout="500m")
            answer = caller.ask(request)
        known = last_failure(running.web, service)
        assert eventually("the reset", lambda: codes) == [ErrorCodes.CANCEL]
    if kind == "application/grpc+proto":
        assert answer.body == framed(b"first")
        trailers = answer.trailers
    else:
        call = read(answer)
        assert call.messages == [b"first"]
        trailers = dict(call.trailers)
    assert trailers["grpc-status"] == "4"
    assert trailers["grpc-message"].startswith("The time for the call ended")
    assert (known["reason"], known["grpc_status"]) == ("timeout", "DEADLINE_EXCEEDED")


@either
def test_the_deadline_resets_the_answer_of_a_caller_that_does_not_read(running: Running, client: Client) -> None:
    def script(peer: Http2, stream: Stream) -> None:
        peer.respond(stream, fields=GRPC)
        peer.data(stream, framed(bytes(LARGE)) * 8)

    with grpc_server(script) as server:
        service = running.service(server.address, protocol="grpc")
        request = ask("Unary", service, b"", grpc_timeout="500m")
        if client is Http2:
            with Http2.connect(running.web.outbound, reads=False) as reader:
                stream = reader.request(request)
                reader.until(lambda: stream.reset is not None)
                assert stream.reset == ErrorCodes.CANCEL
            return
        with Http1.connect(running.web.outbound) as caller:
            caller.send(http1.encoded(request))
            assert last_failure(running.web, service)["reason"] == "timeout"
            with pytest.raises(CutOff):
                caller.answer()


@both_kinds
@either
def test_an_answer_that_ends_inside_a_message_never_looks_complete(running: Running, client: Client, kind: str) -> None:
    codes: list[int | None] = []
    with hangs_after(framed(b"a long message")[:-3], codes) as server:
        service = running.service(server.address, protocol="grpc")
        with client.connect(running.web.outbound) as caller, pytest.raises(CutOff):
            caller.ask(ask("Unary", service, b"", kind=kind, grpc_timeout="300m"))
        assert eventually("the reset", lambda: codes) == [ErrorCodes.CANCEL]


def test_the_deadline_cuts_the_answer_of_a_caller_that_takes_no_trailers(running: Running) -> None:
    with hangs_after(framed(b"first"), []) as server:
        service = running.service(server.address, protocol="grpc")
        request = ask("Unary", service, b"", kind="application/grpc+proto", grpc_timeout="300m")
        with Http1.connect(running.web.outbound) as caller, pytest.raises(CutOff):
            caller.ask(request)


def test_a_call_that_passes_as_it_is_ends_with_its_status_too(running: Running) -> None:
    def script(peer: Http1) -> None:
        peer.take()
        message = framed(b"first")
        peer.send(f"HTTP/1.1 200 OK\r\ncontent-type: {BINARY}\r\ntransfer-encoding: chunked\r\n\r\n")
        peer.send(f"{len(message):x}\r\n", message, "\r\n")
        assert peer.is_over()

    with http1.scripted_server(script) as server:
        service = running.service(server.address, protocol="http")
        _, call = called(Http1, running.web.outbound, ask("Unary", service, b"", grpc_timeout="300m"))
    assert (call.messages, call.status) == ([b"first"], "4")


# How the gRPC specification reads the codes (PROTOCOL-HTTP2.md, Errors).
CODES = [
    (ErrorCodes.INTERNAL_ERROR, "13"),
    (ErrorCodes.CANCEL, "1"),
    (ErrorCodes.ENHANCE_YOUR_CALM, "8"),
    (ErrorCodes.INADEQUATE_SECURITY, "7"),
    (None, "14"),
]


@pytest.mark.parametrize(("code", "status"), CODES, ids=lambda value: getattr(value, "name", str(value)))
def test_how_an_app_breaks_off_shows_in_the_status(running: Running, code: ErrorCodes | None, status: str) -> None:
    goes_on = threading.Event()

    def script(peer: Http2, stream: Stream) -> None:
        if stream.fields.get("x-when") == "later":
            peer.respond(stream, fields=GRPC)
            peer.data(stream, framed(b"first"))
            # A reset overtakes content that has not been read yet.
            assert goes_on.wait(PATIENCE)
        if code is None:
            raise Ended
        peer.reset(stream, code)

    with grpc_server(script) as server:
        service = running.service(server.address, protocol="grpc")
        answer, _ = called(Http1, running.web.outbound, ask("Unary", service, b"", x_when="at once"))
        assert answer.fields["grpc-status"] == status

        with Http1.connect(running.web.outbound) as caller:
            caller.send(http1.encoded(ask("Unary", service, b"", x_when="later")))
            assert caller.head().status == 200
            assert caller.chunk() == framed(b"first")
            goes_on.set()
            assert f"grpc-status: {status}\r\n".encode() in caller.chunk()
            assert caller.chunk() == b""


def test_a_connection_outlives_a_call_that_ends_before_its_request(running: Running) -> None:
    def script(peer: Http2) -> None:
        while True:
            # As soon as the head has come: what follows is not read.
            peer.respond(peer.next_stream(), fields={**GRPC, "grpc-status": "8"}, end=True)

    with http2.scripted_server(script) as server:
        service = running.service(server.address, protocol="grpc")
        with Http1.connect(running.web.outbound) as caller:
            for _ in range(3):
                answer = caller.ask(ask("Unary", service, bytes(1 << 20)))
                assert answer.fields["grpc-status"] == "8"


def test_an_answer_without_a_status_gets_one(running: Running) -> None:
    def script(peer: Http2, stream: Stream) -> None:
        peer.give(stream, Answer(200, GRPC, framed(b"all")))

    with grpc_server(script) as server:
        service = running.service(server.address, protocol="grpc")
        _, call = called(Http1, running.web.outbound, ask("Unary", service, b""))
    assert (call.messages, call.status) == ([b"all"], "2")


@both_kinds
def test_a_call_that_an_app_refuses_is_made_again(running: Running, kind: str) -> None:
    seen: list[Request] = []

    def script(peer: Http2, stream: Stream) -> None:
        seen.append(peer.take(stream))
        if len(seen) == 1:
            peer.reset(stream, ErrorCodes.REFUSED_STREAM)
        else:
            peer.give(stream, Answer(200, GRPC, framed(b"well"), OK))

    with grpc_server(script) as server:
        service = running.service(server.address, protocol="grpc")
        _, call = called(Http1, running.web.outbound, ask("Unary", service, b"again", kind=kind))
    assert (call.messages, call.status) == ([b"well"], "0")
    assert [request.body for request in seen] == [framed(b"again")] * 2
    assert {request.fields["content-type"] for request in seen} == {"application/grpc+proto"}
    assert {request.fields["te"] for request in seen} == {"trailers"}


def test_compressed_messages_pass_as_they_are(running: Running) -> None:
    compressed = struct.pack(">BI", 1, 4) + b"\x1f\x8b\0\0"

    def script(peer: Http2, stream: Stream) -> None:
        request = peer.take(stream)
        assert (request.fields["grpc-encoding"], request.fields["grpc-accept-encoding"]) == ("gzip", "gzip,identity")
        peer.give(stream, Answer(200, {**GRPC, "grpc-encoding": "gzip"}, request.body, OK))

    with grpc_server(script) as server:
        service = running.service(server.address, protocol="grpc")
        head = {"content-type": BINARY, "grpc-encoding": "gzip", "grpc-accept-encoding": "gzip,identity"}
        with Http1.connect(running.web.outbound) as caller:
            answer = caller.ask(Request("POST", f"/{SERVICE}/Unary", service, head, compressed))
    assert answer.fields["grpc-encoding"] == "gzip"
    assert answer.body.startswith(compressed)
    assert read(answer).status == "0"
