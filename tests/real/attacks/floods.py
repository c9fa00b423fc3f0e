"""What an attacker sends on one connection, by the budget of ours that ends it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.real.attacks.frames import CANCEL, END_HEADERS, END_STREAM, Kind, fields, frame, number

FRAMES = 20_000
CONTINUATIONS = 5_000
BOMBS = 200
ASK = fields("/small")


@dataclass(frozen=True)
class Flood:
    """`budgets` are ours, of which one ends it; `make` gives the bytes after the handshake."""

    name: str
    budgets: tuple[str, ...]
    make: Callable[[], bytes]
    # A server that has no budget lets it go on for ever.
    is_often_open: bool = False


def _streams(count: int, make: Callable[[int], bytes]) -> Callable[[], bytes]:
    return lambda: b"".join(make(2 * index + 1) for index in range(count))


def _request(stream: int, flags: int = END_HEADERS | END_STREAM) -> bytes:
    return frame(Kind.HEADERS, stream, ASK, flags)


def _then(*frames: tuple[int, bytes], flags: int = END_HEADERS | END_STREAM) -> Callable[[], bytes]:
    """A request, then these on its stream; so often that it makes `FRAMES`."""

    def make(stream: int) -> bytes:
        return _request(stream, flags) + b"".join(frame(kind, stream, payload) for kind, payload in frames)

    return _streams(FRAMES // (1 + len(frames)), make)


def _same(one: bytes, count: int = FRAMES, before: bytes = b"") -> Callable[[], bytes]:
    return lambda: before + one * count


def _bomb(stream: int) -> bytes:
    # A field of 4000 bytes for the table, then a byte for each time that it comes: 64 MB in 20 KB.
    field = b"\x40\x01x\x7f" + _varint(4000 - 127) + b"y" * 4000
    return (
        frame(Kind.HEADERS, stream, ASK + field + b"\xbe" * 8000, END_STREAM)
        + frame(Kind.CONTINUATION, stream, b"\xbe" * 8000, END_HEADERS)
    )  # fmt: skip


def _varint(value: int) -> bytes:
    octets = b""
    while value >= 0x80:
        octets += bytes([value & 0x7F | 0x80])
        value >>= 7
    return octets + bytes([value])


_BLOCK = frame(Kind.HEADERS, 1, ASK)
_OPEN = _request(1, END_HEADERS)
_FIELDS = b"\x00\x01x\x01y" * 78

FLOODS: Sequence[Flood] = (
    Flood("rapid reset", ("resets",), _then((Kind.RST_STREAM, number(CANCEL)))),
    Flood(
        "RST_STREAM after END_STREAM", ("resets",), _then((Kind.RST_STREAM, number(0)), (Kind.RST_STREAM, number(0)))
    ),
    Flood("WINDOW_UPDATE of 0", ("protocol", "provoked-resets"), _then((Kind.WINDOW_UPDATE, number(0)))),
    # A stream that was reset counts as open until its client is told.
    Flood(
        "WINDOW_UPDATE beyond 2^31", ("provoked-resets", "streams"), _then((Kind.WINDOW_UPDATE, number((1 << 31) - 1)))
    ),
    Flood("DATA on a half-closed stream", ("protocol", "provoked-resets"), _then((Kind.DATA, b"more"))),
    Flood(
        "PRIORITY on itself",
        ("provoked-resets", "streams"),
        _streams(FRAMES // 2, lambda at: _request(at) + frame(Kind.PRIORITY, at, number(at) + b"\x10")),
    ),
    Flood("PRIORITY of four bytes", ("protocol", "provoked-resets"), _then((Kind.PRIORITY, bytes(4)))),
    Flood("CONTINUATION", ("continuation",), _same(frame(Kind.CONTINUATION, 1, _FIELDS), CONTINUATIONS, before=_BLOCK)),
    Flood("empty CONTINUATION", ("continuation",), _same(frame(Kind.CONTINUATION, 1), CONTINUATIONS, before=_BLOCK)),
    Flood("HPACK bomb", ("header-list",), _streams(BOMBS, _bomb)),
    Flood("PING", ("ping",), _same(frame(Kind.PING, payload=bytes(8))), is_often_open=True),
    Flood("SETTINGS", ("settings",), _same(frame(Kind.SETTINGS)), is_often_open=True),
    Flood("PRIORITY", ("priority",), _same(frame(Kind.PRIORITY, 1, number(0) + b"\x10")), is_often_open=True),
    Flood(
        "WINDOW_UPDATE of 1",
        ("small-window-update",),
        _same(frame(Kind.WINDOW_UPDATE, 0, number(1))),
        is_often_open=True,
    ),
    Flood("unknown frame", ("unknown",), _same(frame(Kind.UNKNOWN, 0, b"anything")), is_often_open=True),
    Flood("GOAWAY", ("goaway",), _same(frame(Kind.GOAWAY, 0, bytes(8)), before=_OPEN)),
    Flood("empty DATA", ("small-data",), _same(frame(Kind.DATA, 1), before=_OPEN)),
    Flood(
        "empty HEADERS",
        ("empty-headers", "protocol"),
        _streams(FRAMES, lambda at: frame(Kind.HEADERS, at, b"", END_HEADERS | END_STREAM)),
    ),
    Flood("streams beyond the limit", ("streams",), _streams(FRAMES, lambda at: _request(at, END_HEADERS))),
)
