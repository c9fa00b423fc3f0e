"""Clients that carry out the same orders, and tell what came of them as `answer` in go/client.go does."""

import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import h2.events
import h2.exceptions

from tests.e2e.fidelity.message import Cut, Http1, Http2, Message
from tests.real.peers.process import Json, Lines
from tests.real.programs import debian

# Called with each piece of a content that is told as it comes.
Piece = Callable[[str], None]


@dataclass(frozen=True)
class Client:
    """One client, which speaks one version."""

    name: str
    version: int
    ask: Callable[[Json, Piece], Json]
    # What it cannot do, by its own design.
    cannot: frozenset[str] = frozenset()

    def __call__(self, url: str, piece: Piece = lambda _: None, **order: object) -> Json:
        """One exchange."""
        blank: Json = {"method": "GET", "fields": {}, "trailers": {}, "body": "", "expect": False, "stream": False}
        return self.ask({**blank, "url": url, "version": self.version, **order}, piece)


def blank_answer() -> Json:
    """Nothing has come yet."""
    return {"status": 0, "fields": {}, "body": "", "trailers": {}, "interim": [], "error": ""}


def program(name: str, lines: Lines, version: int, *cannot: str) -> Client:
    """The one in Go or in Node."""

    def ask(order: Json, piece: Piece) -> Json:
        lines.write(order)
        while "piece" in (told := lines.read()):
            piece(told["piece"])
        return told

    return Client(f"{name} http{version}", version, ask, frozenset(cannot))


def python(version: int) -> Client:
    """HTTP/1.1 by hand, or the package h2."""

    def ask(order: Json, piece: Piece) -> Json:
        url = urlsplit(order["url"])
        target = f"{url.path}?{url.query}" if url.query else url.path
        connection = socket.create_connection((url.hostname or "", url.port or 0), timeout=20)
        try:
            message = (_ask_http1 if version == 1 else _ask_http2)(connection, url.netloc, target, order, piece)
        except (Cut, ConnectionError, h2.exceptions.ProtocolError) as error:
            return {**blank_answer(), "error": repr(error)}
        interim = [{"status": int(status), "fields": dict(fields)} for status, fields in message.interim]
        told = {"status": int(message.start), "fields": dict(message.fields), "body": message.body.decode()}
        return {**blank_answer(), **told, "interim": interim, "trailers": dict(message.trailers)}

    return Client(f"Python http{version}", version, ask, frozenset())


def _ask_http1(connection: socket.socket, host: str, target: str, order: Json, piece: Piece) -> Message:
    with closing(Http1(connection)) as peer:
        has_content = bool(order["body"] or order["trailers"])
        fields = [("host", host), *order["fields"].items()]
        fields += [("transfer-encoding", "chunked")] if has_content else []
        fields += [("expect", "100-continue")] if order["expect"] else []
        peer.write_head(f"{order['method']} {target} HTTP/1.1", fields)
        interim = []
        if order["expect"]:
            head = peer.read_head()
            if head.start != "100":
                return peer.read_body(head, is_response=True)
            interim.append((head.start, head.fields))
        if has_content:
            if order["body"]:
                peer.write_chunk(order["body"].encode())
            peer.write_end(order["trailers"].items())
        message = peer.read_response(order["method"]) if not order["stream"] else _stream_http1(peer, piece)
        message.interim = [*interim, *message.interim]
        return message


def _stream_http1(peer: Http1, piece: Piece) -> Message:
    head = peer.read_head()
    assert head.get("transfer-encoding") == "chunked"
    while size := int(peer.file.readline(), 16):
        data = peer.file.read(size)
        peer.file.readline()
        head.body += data
        piece(data.decode())
    return head


def _ask_http2(connection: socket.socket, host: str, target: str, order: Json, piece: Piece) -> Message:
    with closing(Http2(connection, client=True)) as peer:
        fields = [(":method", order["method"]), (":scheme", "http"), (":authority", host), (":path", target)]
        fields += [(name.lower(), value) for name, value in order["fields"].items()]
        fields += [("expect", "100-continue")] if order["expect"] else []
        has_content = bool(order["body"] or order["trailers"])
        peer.head(1, fields, end=not has_content)
        message = Message()
        if order["expect"]:
            head = peer.read_head()
            if not head.interim:
                return peer.read(1, head)
            message.interim = head.interim
        if order["body"]:
            peer.data(1, order["body"].encode(), end=not order["trailers"])
        if order["trailers"]:
            peer.head(1, list(order["trailers"].items()), end=True)
        peer.read(1, message, lambda data: piece(data.decode()) if data else None)
        # To close before everything was read would reset the connection, and take along what is still on its way.
        peer.state.ping(b"the last")
        peer.flush()
        while not isinstance(peer.event(), h2.events.PingAckReceived):
            pass
        return message


def curl(version: int, scratch: Path) -> Client:
    """curl."""
    tongue = ["--http1.1"] if version == 1 else ["--http2-prior-knowledge"]

    def ask(order: Json, piece: Piece) -> Json:
        heads = scratch / "heads"
        heads.unlink(missing_ok=True)
        command = [debian("curl"), "--silent", "--show-error", "--no-buffer", "--max-time", "20", *tongue]
        command += ["--dump-header", str(heads)]
        # A name without a value takes away what curl would send on its own.
        fields = {"content-type": "", "expect": "100-continue" if order["expect"] else "", **order["fields"]}
        for name, value in fields.items():
            command += ["--header", f"{name}: {value}" if value else f"{name}:"]
        command += ["--head"] if order["method"] == "HEAD" else ["--request", order["method"]]
        if order["body"]:
            content = scratch / "content"
            content.write_text(order["body"])
            command += ["--data-binary", f"@{content}"]
        body = ""
        with subprocess.Popen([*command, order["url"]], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            while data := os.read(process.stdout.fileno(), 65536):
                body += data.decode()
                if order["stream"]:
                    piece(data.decode())
            words = process.stderr.read().decode()
        told = blank_answer()
        for block in heads.read_bytes().decode().split("\r\n\r\n") if heads.exists() else ():
            _take_block(told, [line for line in block.split("\r\n") if line])
        # With --head the fields are the output.
        told["body"] = "" if order["method"] == "HEAD" else body
        return {**told, "error": f"{process.returncode}: {words}" if process.returncode else ""}

    cannot = {"send trailers", "go on after the answer"}
    if version == 2:
        # curl 7.88 waits for nothing there, and often takes a reset with NO_ERROR behind a whole answer for a failure.
        cannot |= {"wait for 100", "be answered before its request is whole"}
    return Client(f"curl http{version}", version, ask, frozenset(cannot))


def _take_block(told: Json, lines: list[str]) -> None:
    """A head, an interim one, or trailers, as curl writes them."""
    if not lines:
        return
    status = re.match(r"HTTP/\S+ (\d{3})", lines[0])
    fields = dict(_field(line) for line in lines[1 if status else 0 :])
    _take_fields(told, int(status[1]) if status else 0, fields)


def _take_fields(told: Json, status: int, fields: dict[str, str]) -> None:
    if status == 0:
        told["trailers"].update(fields)
    elif status < 200:
        told["interim"].append({"status": status, "fields": fields})
    else:
        told.update(status=status, fields=fields)


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.lower(), value.strip()


# One report of nghttp --verbose, with the lines that belong to it.
REPORT = re.compile(r"\[ *\d+\.\d+\] ?(.*)\n?((?:          .*\n)*)")


def nghttp(scratch: Path) -> Client:
    """nghttp, whose report of frames is read."""

    def ask(order: Json, piece: Piece) -> Json:
        command = [debian("nghttp"), "--verbose", "--timeout=20", f"--header=:method: {order['method']}"]
        command += [f"--header={name}: {value}" for name, value in order["fields"].items()]
        command += [f"--trailer={name}: {value}" for name, value in order["trailers"].items()]
        command += ["--expect-continue"] if order["expect"] else []
        if order["body"]:
            content = scratch / "content"
            content.write_text(order["body"])
            command += [f"--data={content}"]
        done = subprocess.run([*command, order["url"]], capture_output=True, text=True, timeout=30, check=False)
        told = blank_answer()
        fields: dict[str, str] = {}
        for report, rest in _reports(done.stdout):
            if received := re.match(r"recv \(stream_id=\d+\) (:?[^:]+): ?(.*)", report):
                fields[received[1]] = received[2]
            elif report.startswith("recv HEADERS frame"):
                _take_fields(told, int(fields.pop(":status", 0)), fields)
                fields = {}
            elif report.startswith("recv RST_STREAM frame"):
                # A server that has answered may refuse the rest of a request so (RFC 9113 section 8.1).
                told["error"] = "" if "NO_ERROR" in rest else rest.strip()
        told["body"] = REPORT.sub("", done.stdout)
        return told

    # It says how long the content is, and beside a length HTTP/1.1 has no place for trailers.
    cannot = {"tell pieces", "go on after the answer", "send trailers to HTTP/1.1"}
    return Client("nghttp http2", 2, ask, frozenset(cannot))


def _reports(text: str) -> Iterator[tuple[str, str]]:
    for report in REPORT.finditer(text):
        yield report[1], report[2]
