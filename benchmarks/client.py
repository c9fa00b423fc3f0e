"""A plain client for single requests: it proves that a proxy does its work before its cost is measured."""

import http.client
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import h2.config
import h2.connection
import h2.events

from benchmarks.backends import BackendKind
from benchmarks.cases import Case
from benchmarks.process import BenchError

ANSWER_SECONDS = 10.0


@dataclass
class Answer:
    """What came back for one request."""

    status: int = 0
    body_bytes: int = 0
    trailers: dict[str, str] = field(default_factory=dict)


class Http2Client:
    """One cleartext HTTP/2 connection; the SETTINGS exchange is over when the constructor returns."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
        self._authority = f"127.0.0.1:{port}"
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._send()
        while not any(isinstance(event, h2.events.SettingsAcknowledged) for event in self._receive()):
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def stall(self, path: str, streams: int) -> None:
        """Send so many requests and read of each answer the first 65535 bytes, the window that HTTP/2 begins with."""
        unread = {self._h2.get_next_available_stream_id() + 2 * index: 0 for index in range(streams)}
        self._h2.increment_flow_control_window(streams << 16)
        for stream in unread:
            pseudo = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", self._authority)]
            self._h2.send_headers(stream, pseudo, end_stream=True)
        self._send()
        while min(unread.values()) < 0xFFFF:
            for event in self._receive():
                if isinstance(event, h2.events.DataReceived):
                    unread[event.stream_id] += event.flow_controlled_length
            self._send()

    def request(self, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """Send one request (POST with a body, else GET) and wait for its whole answer."""
        stream = self._h2.get_next_available_stream_id()
        pseudo = [(":method", "GET" if body is None else "POST"), (":scheme", "http"), (":path", path)]
        pseudo.append((":authority", self._authority))
        self._h2.send_headers(stream, [*pseudo, *headers.items()], end_stream=body is None)
        if body is not None:
            self._h2.send_data(stream, body, end_stream=True)
        self._send()
        answer = Answer()
        while not self._take(answer):
            pass
        return answer

    def _take(self, answer: Answer) -> bool:
        ended = False
        for event in self._receive():
            match event:
                case h2.events.ResponseReceived():
                    answer.status = int(next(value for name, value in event.headers if name in (":status", b":status")))
                case h2.events.DataReceived():
                    answer.body_bytes += len(event.data)
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.TrailersReceived():
                    answer.trailers.update((str(name), str(value)) for name, value in event.headers)
                case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                    raise BenchError(f"the proxy ended the request with {event}")
                case h2.events.StreamEnded():
                    ended = True
                case _:
                    pass
        self._send()
        return ended

    def _receive(self) -> list[h2.events.Event]:
        data = self._socket.recv(65536)
        if not data:
            raise BenchError("the proxy closed the connection")
        return self._h2.receive_data(data)

    def _send(self) -> None:
        self._socket.sendall(self._h2.data_to_send())


def stalled_http1(port: int, path: str) -> socket.socket:
    """A connection on which an answer was asked for that nobody reads; its own buffer is small."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    connection.connect(("127.0.0.1", port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    return connection


def prove(case: Case, port: int) -> None:
    """Send one request of the case and check status, length and trailers. BenchError says what was wrong."""
    answer = _http1(case, port) if case.backend is BackendKind.H1 else _http2(case, port)
    expected = Answer(200, case.answer_bytes, {**case.trailers})
    if answer != expected:
        raise BenchError(f"{case.name}: the proxy answered {answer}, expected {expected}")


def _http2(case: Case, port: int) -> Answer:
    with Http2Client(port) as client:
        return client.request(case.path, case.headers, case.body)


def _http1(case: Case, port: int) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", case.path)
        answer = connection.getresponse()
        return Answer(answer.status, len(answer.read()))
    finally:
        connection.close()
