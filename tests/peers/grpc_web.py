"""gRPC-Web by hand: messages with their prefixes, the status as the last of them, and all of it as base64."""

import base64
import struct
from dataclasses import dataclass, field

from tests.peers.grpc_app import SERVICE
from tests.peers.message import Answer, Request

BINARY = "application/grpc-web+proto"
TEXT = "application/grpc-web-text+proto"


@dataclass(frozen=True)
class Call:
    """What the content of an answer holds."""

    messages: list[bytes] = field(default_factory=list)
    # In the order in which they came; empty when the status stands in the head, or nowhere.
    trailers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def status(self) -> str:
        return dict(self.trailers)["grpc-status"]


def framed(*messages: bytes) -> bytes:
    """Messages as gRPC and gRPC-Web write them."""
    return b"".join(struct.pack(">BI", 0, len(message)) + message for message in messages)


def text(*parts: bytes) -> bytes:
    """Base64 of each part, with its padding, one after the other."""
    return b"".join(base64.b64encode(part) for part in parts)


def untext(body: bytes) -> bytes:
    """What `text` was made of, wherever it was padded."""
    assert len(body) % 4 == 0, body
    return b"".join(base64.b64decode(body[at : at + 4], validate=True) for at in range(0, len(body), 4))


def ask(method: str, host: str, *messages: bytes, kind: str = BINARY, **fields: str) -> Request:
    """A call of the app's `method`; `_` in names of fields stands for `-`."""
    body = framed(*messages)
    head = {"content-type": kind, "x-grpc-web": "1", **{name.replace("_", "-"): fields[name] for name in fields}}
    return Request("POST", f"/{SERVICE}/{method}", host, head, text(body) if kind == TEXT else body)


def read(answer: Answer) -> Call:
    """The content of an answer. AssertionError when it ends inside a message, or goes on behind its status."""
    body = answer.body
    if answer.fields["content-type"].startswith("application/grpc-web-text"):
        body = untext(body)
    messages: list[bytes] = []
    trailers: list[tuple[str, str]] = []
    while body:
        assert not trailers, f"behind the status: {body!r}"
        flags, length = struct.unpack_from(">BI", body)
        message, body = body[5 : 5 + length], body[5 + length :]
        assert len(message) == length, "the content ends inside a message"
        if flags & 0x80:
            lines = message.decode("latin-1").split("\r\n")
            assert lines.pop() == ""
            trailers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        else:
            messages.append(message)
    return Call(messages, trailers)
