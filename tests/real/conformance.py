"""Puts a gateway and a sidecar before a server of Connect's conformance suite.

The suite starts `python -m tests.real.conformance SERVER` as a server under test: what is wanted on standard input, the
server's address on standard output, each with its length before it. Both pass through; only the address becomes ours.
"""

import signal
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from tests.mesh import Mesh

# Of the suite's enum HTTPVersion.
HTTP_VERSION_1 = 1


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


def field_2(message: bytes) -> int:
    """`http_version` of a ServerCompatRequest, `port` of a ServerCompatResponse."""
    while message:
        tag, message = take_varint(message)
        value, message = take_varint(message)
        if tag >> 3 == 2:
            return value
        # Before a field of bytes stands its length; the others are numbers.
        message = message[value:] if tag & 7 == 2 else message
    raise ValueError("field 2 is not there")


def main(server: str) -> None:
    """Serve until SIGTERM."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with (
        tempfile.TemporaryDirectory() as directory,
        subprocess.Popen([server], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        size = sys.stdin.buffer.read(4)
        wanted = sys.stdin.buffer.read(struct.unpack(">I", size)[0])
        process.stdin.write(size + wanted)
        process.stdin.close()
        answer = process.stdout.read(struct.unpack(">I", process.stdout.read(4))[0])
        with Mesh(Path(directory)) as mesh:
            protocol = "http" if field_2(wanted) == HTTP_VERSION_1 else "http2"
            host, port = mesh.exposed("conformance", field_2(answer), protocol=protocol).edge.rsplit(":", 1)
            ours = b"\x0a" + put_varint(len(host)) + host.encode() + b"\x10" + put_varint(int(port))
            sys.stdout.buffer.write(struct.pack(">I", len(ours)) + ours)
            sys.stdout.flush()
            stopped.wait()
        process.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:])
