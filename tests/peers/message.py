"""Requests and answers, whatever protocol carries them. Field names are in lower case."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """What a client asks."""

    method: str = "GET"
    path: str = "/"
    # The authority of HTTP/2, the Host of HTTP/1.1.
    host: str = "test"
    # With `content-length` the length is told; HTTP/1.1 sends other content in chunks.
    fields: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    trailers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a server says; `interim` are the statuses (1xx) that came before."""

    status: int = 200
    fields: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    trailers: Mapping[str, str] = field(default_factory=dict)
    interim: tuple[int, ...] = ()


App = Callable[[Request], Answer]


class Ended(EOFError):
    """The other side closed the connection."""


class CutOff(Exception):
    """A message broke off before its end; `received` is the content that had come, `why` how it broke off."""

    def __init__(self, received: bytes, why: str) -> None:
        super().__init__(f"{why} after {len(received)} bytes of content")
        self.received = received
        self.why = why


def sized(body: bytes) -> dict[str, str]:
    """The field that tells how long `body` is."""
    return {"content-length": str(len(body))}
