"""Puts a gateway and a sidecar before a server of Connect's conformance suite.

The suite starts `python -m tests.real.conformance SERVER PROTOCOL` as a server under test: a request on standard input, the
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


def port_of(answer: bytes) -> int:
    """`port` of a ServerCompatResponse: field 2; the others hold bytes."""
    while answer:
        tag, answer = take_varint(answer)
        value, answer = take_varint(answer)
        if tag >> 3 == 2:
            return value
        answer = answer[value:]
    raise ValueError("the server told no port")


def main(server: str, protocol: str) -> None:
    """Serve until SIGTERM."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with tempfile.TemporaryDirectory() as directory, subprocess.Popen(
        [server], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        size = sys.stdin.buffer.read(4)
        process.stdin.write(size + sys.stdin.buffer.read(struct.unpack(">I", size)[0]))
        process.stdin.close()
        answer = process.stdout.read(struct.unpack(">I", process.stdout.read(4))[0])
        with Mesh(Path(directory)) as mesh:
            host, port = mesh.exposed("conformance", port_of(answer), protocol=protocol).edge.rsplit(":", 1)
            ours = b"\x0a" + put_varint(len(host)) + host.encode() + b"\x10" + put_varint(int(port))
            sys.stdout.buffer.write(struct.pack(">I", len(ours)) + ours)
            sys.stdout.flush()
            stopped.wait()
        process.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:])
