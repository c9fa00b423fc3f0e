"""Requests with a few bytes changed, and what must hold of them whatever they mean."""

import random
import re
from collections.abc import Iterator, Sequence

from tests.e2e.strictness.framing import FRAMINGS
from tests.e2e.strictness.reading import Reading, read
from tests.e2e.strictness.requests import HEADS

# Bytes and words that matter to the grammar.
_PIECES = (
    *(bytes([byte]) for byte in b'\r\n\t :;,/?#%\\."0a5+-_\0\x0b\x7f\xff'),
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\n\n",
        b"0\r\n\r\n",
        b"chunked",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\n",
    ),
    *(
        b"Host: b\r\n",
        b"Connection: close\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HTTP/1.0",
        b"Expect: 100-continue\r\n",
    ),
)
# The large vectors say nothing more when they are changed, and take their time.
_LARGEST = 2048


# What `h11` refuses and RFC 9112 has servers take: an empty line before a request (section 2.2), and spaces before the
# `;` of a chunk's extension (section 7.1.1). And what it judges and ours drops: fields of a trailer section that frame.
_EMPTY_LINE = "no request line received"
_EXTENSION, _SPACED = "illegal chunk header", re.compile(rb"\r\n[0-9A-Fa-f]+[ \t]+;")
_OF_TRAILERS = {
    *("Only Transfer-Encoding: chunked is supported", "multiple Transfer-Encoding headers"),
    *("bad Content-Length", "conflicting Content-Length headers"),
}
_TRAILERS = re.compile(rb"\r\n0+\r\n[^\r]")


def _is_stricter(trouble: str, sent: bytes) -> bool:
    return (
        trouble == _EMPTY_LINE
        or (trouble.startswith(_EXTENSION) and bool(_SPACED.search(sent)))
        or (trouble in _OF_TRAILERS and bool(_TRAILERS.search(sent)))
    )


def _samples() -> list[bytes]:
    """What is changed: the vectors, and four times those that are taken as they are."""
    vectors = [vector for vector in (*HEADS, *FRAMINGS) if 0 < len(vector.sent) <= _LARGEST]
    return [vector.sent for vector in vectors for _ in range(4 if vector.bodies else 1)]


def mutated(seed: int, count: int) -> Iterator[bytes]:
    """So many; the same for a seed."""
    chance = random.Random(seed)  # noqa: S311 - to be the same each time
    originals = _samples()
    for _ in range(count):
        data = bytearray(chance.choice(originals))
        for _ in range(chance.randint(1, 2)):
            at = chance.randrange(len(data) + 1)
            match chance.randrange(5):
                case 0:
                    data[at : at + 1] = chance.choice(_PIECES)
                case 1:
                    data[at:at] = chance.choice(_PIECES)
                case 2:
                    del data[at : at + chance.randint(1, 3)]
                case 3:
                    data[at:at] = data[at : at + chance.randint(1, 40)]
                case _:
                    data[at:] = chance.choice(originals)
        yield bytes(data[:_LARGEST])


def disagreement(sent: bytes, answered: Sequence[int], forwarded: Sequence[Reading]) -> str:
    """Where ours has seen other requests in `sent` than `h11` does; "" nowhere.

    `answered` are the statuses that the client was told, in order; 200 is the application's. Ours may stop earlier, for
    it refuses more. It never sees a request, or an end of one, where `h11` sees another.
    """
    places = [place for place, status in enumerate(answered) if status == 200]
    if len(places) != len(forwarded):
        return f"answered {answered}, forwarded {forwarded}"
    theirs = read(sent)
    for place, ours in zip(places, forwarded, strict=True):
        if place >= len(theirs.readings):
            if _is_stricter(theirs.trouble, sent):
                return ""
            return f"no request {place + 1} for h11: {theirs.trouble or 'no end'}"
        their = theirs.readings[place]
        if (ours.method, ours.body) != (their.method, their.body):
            return f"request {place + 1}: {ours} is {their} to h11"
    return ""
