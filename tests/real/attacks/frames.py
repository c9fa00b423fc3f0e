"""HTTP/2 in our own bytes, right or wrong: what no library would send is sent here (RFC 9113, RFC 7541)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = 9

END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
INITIAL_WINDOW_SIZE = 0x4
# Ends a stream that is no longer wanted; a stream that was not worked on.
CANCEL, REFUSED_STREAM = 0x8, 0x7


class Kind(IntEnum):
    """Types of frames."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9
    UNKNOWN = 0xFA


@dataclass(frozen=True)
class Frame:
    """One that came."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of RST_STREAM or GOAWAY."""
        at = 4 if self.kind == Kind.GOAWAY else 0
        return int.from_bytes(self.payload[at : at + 4], "big")


def frame(kind: int, stream: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    """One to send."""
    return len(payload).to_bytes(3, "big") + struct.pack(">BBL", kind, flags, stream) + payload


def number(value: int) -> bytes:
    """The payload of WINDOW_UPDATE and RST_STREAM."""
    return value.to_bytes(4, "big")


def fields(path: str) -> bytes:
    """The header block of GET http://test<path>, of literals and the static table alone."""
    return b"\x82\x86" + _literal(4, path) + _literal(1, "test")


def _literal(name: int, value: str) -> bytes:
    return bytes([name, len(value)]) + value.encode()


def setting(name: int, value: int) -> bytes:
    """One entry of SETTINGS."""
    return struct.pack(">HL", name, value)


class Reader:
    """Puts frames together from what comes in pieces."""

    def __init__(self) -> None:
        self._partial = b""

    def take(self, data: bytes) -> Iterator[Frame]:
        """Those that are whole now."""
        self._partial += data
        while len(self._partial) >= HEAD:
            end = HEAD + int.from_bytes(self._partial[:3], "big")
            if len(self._partial) < end:
                return
            whole, self._partial = self._partial[:end], self._partial[end:]
            stream = int.from_bytes(whole[5:HEAD], "big")
            yield Frame(whole[3], whole[4], stream, whole[HEAD:])
