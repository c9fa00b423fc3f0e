"""What two sides of a WebSocket say to each other, turn by turn, and how it ends.

Only one side speaks at a time, and the other one reads all of it: what each of them hears is then the same however the
bytes travel.
"""

from dataclasses import dataclass
from typing import Literal

from hypothesis import strategies

Who = Literal["client", "server"]


@dataclass(frozen=True)
class Run:
    """So many times the same byte; shown in one line where a test fails."""

    byte: int
    size: int

    def __bytes__(self) -> bytes:
        return bytes([self.byte]) * self.size


@dataclass(frozen=True)
class Message:
    """One message, a frame for each piece, all of text or all of bytes; maybe with a ping between the first two."""

    pieces: tuple[str | bytes | Run, ...]
    ping: bytes | None = None


@dataclass(frozen=True)
class Ping:
    """A ping, which the other side answers."""

    payload: bytes


@dataclass(frozen=True)
class Pong:
    """A pong that nobody asked for."""

    payload: bytes


@dataclass(frozen=True)
class Closing:
    """`who` sends the close frame, and `first` ends the connection after the answer to it."""

    who: Who
    code: int
    reason: str
    first: Who


@dataclass(frozen=True)
class Ending:
    """`who` ends the connection without a close frame: in order, or as a crash does."""

    who: Who
    in_order: bool


Turn = tuple[Who, Message | Ping | Pong]


@dataclass(frozen=True)
class Conversation:
    """All of it."""

    turns: tuple[Turn, ...]
    end: Closing | Ending
    compressed: bool = False


# A frame's length is written in one byte, in three from 126, in nine from 65536 on (RFC 6455 section 5.2); above that,
# longer than any buffer or window on the way.
SIZES = (0, 1, 125, 126, 1000, 65535, 65536, 300_000)

_who: strategies.SearchStrategy[Who] = strategies.sampled_from(["client", "server"])
_control = strategies.binary(max_size=125)
_long = strategies.builds(Run, strategies.integers(0, 255), strategies.sampled_from(SIZES))
_binary = strategies.lists(strategies.binary(max_size=40) | _long, min_size=1, max_size=4)
_text = strategies.lists(strategies.text(max_size=40), min_size=1, max_size=4)
_pieces = (_binary | _text).map(tuple)


def _turns(pings: strategies.SearchStrategy[bytes | None]) -> strategies.SearchStrategy[tuple[Turn, ...]]:
    """Turns of both sides, in whose messages there are such pings."""
    turns = (
        strategies.builds(Message, _pieces, pings)
        | strategies.builds(Ping, _control)
        | strategies.builds(Pong, _control)
    )
    return strategies.lists(strategies.tuples(_who, turns), max_size=6).map(tuple)


# Those that may stand in a close frame (RFC 6455 section 7.4); a reason has at most 123 bytes.
_codes = strategies.sampled_from([1000, 1001, 1002, 1003, *range(1007, 1012)]) | strategies.integers(3000, 4999)
_ends = strategies.builds(Closing, _who, _codes, strategies.text(max_size=30), _who) | strategies.builds(
    Ending, _who, strategies.booleans()
)
# wsproto 1.3.2 takes the rest of a compressed message for plain after a ping inside of it.
conversations = strategies.builds(Conversation, _turns(strategies.none() | _control), _ends) | strategies.builds(
    Conversation, _turns(strategies.none()), _ends, strategies.just(True)
)
