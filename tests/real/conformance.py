"""Stands in for a server of Connect's conformance suite that a mesh leads to.

    python tests/real/conformance.py '{"edges": {"1": "127.0.0.1:4000", "2": "127.0.0.1:5000"}, ...}'

The suite starts this as a server under test: what is wanted on standard input, the server's address on standard output,
each with its length before it. Both pass through; only the address becomes that of a gateway, by version of HTTP. The
suite waits 10 s for the answer, so the mesh must be there before, and this file loads nothing that takes long.
"""

import json
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import IO

# Numbers of a ServerCompatRequest's fields, and of their values.
PROTOCOL = 1
PROTOCOL_GRPC = 2
HTTP_VERSION = 2
HTTP_VERSION_2 = 2


def take_varint(data: bytes) -> tuple[int, bytes]:
    """The first number of protobuf bytes, and the rest."""
    value = shift = 0
    for index, byte in enumerate(data):
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, data[index + 1 :]
    raise ValueError("the number has no end")


def put_varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    data = b""
    while value > 0x7F:
        data += bytes([value & 0x7F | 0x80])
        value >>= 7
    return data + bytes([value])


def fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The fields of a message: number, value, and all its bytes. The value of a field of bytes is their length."""
    while message:
        tag, rest = take_varint(message)
        value, rest = take_varint(rest)
        # Before a field of bytes stands its length; the others are numbers.
        rest = rest[value:] if tag & 7 == 2 else rest
        yield tag >> 3, value, message[: len(message) - len(rest)]
        message = rest


def asking_for_grpc(wanted: bytes) -> bytes:
    """The same ServerCompatRequest to a server that speaks gRPC only, whatever the suite's client is going to speak."""
    rest = [data for field, _, data in fields(wanted) if field not in (PROTOCOL, HTTP_VERSION)]
    return b"".join([bytes([PROTOCOL << 3, PROTOCOL_GRPC, HTTP_VERSION << 3, HTTP_VERSION_2]), *rest])


def framed(message: bytes) -> bytes:
    """A message as the suite writes it."""
    return struct.pack(">I", len(message)) + message


def read(stream: IO[bytes]) -> bytes:
    """The next message."""
    return stream.read(struct.unpack(">I", stream.read(4))[0])


def main(server: str, port: int, edges: dict[str, str], speaks_grpc_only: bool) -> None:
    """Serve on `port`, behind `edges`, until SIGTERM."""
    wanted = read(sys.stdin.buffer)
    version = next(value for field, value, _ in fields(wanted) if field == HTTP_VERSION)
    host, _, ours = edges[str(version)].rpartition(":")
    with subprocess.Popen([server, "-port", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(framed(asking_for_grpc(wanted) if speaks_grpc_only else wanted))
        process.stdin.close()
        read(process.stdout)
        sys.stdout.buffer.write(
            framed(b"\x0a" + put_varint(len(host)) + host.encode() + b"\x10" + put_varint(int(ours)))
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
