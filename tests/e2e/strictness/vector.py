"""One hostile or odd message, and what must become of it."""

from dataclasses import dataclass

EMPTY = b"\r\n"


@dataclass(frozen=True)
class Vector:
    """Bytes that a client sends on a connection of its own, after which it says no more.

    The name is that of Http11Probe's list where it has the same one (capitals), else ours. `statuses` are the answers
    of ours, in order; `bodies` the contents of the requests that it forwards.
    """

    name: str
    sent: bytes
    statuses: tuple[int, ...] = ()
    bodies: tuple[bytes, ...] = ()


def refused(name: str, sent: bytes, status: int = 400) -> Vector:
    """Nothing of it may be forwarded."""
    return Vector(name, sent, (status,))


def dropped(name: str, sent: bytes) -> Vector:
    """Nothing is forwarded and nothing answered."""
    return Vector(name, sent)


def taken(name: str, sent: bytes, *bodies: bytes) -> Vector:
    """As many requests as there are bodies, each answered; none given: one without content."""
    bodies = bodies or (b"",)
    return Vector(name, sent, (200,) * len(bodies), bodies)


def then_refused(name: str, sent: bytes, *bodies: bytes, status: int = 400) -> Vector:
    """These requests are forwarded; what follows them is refused."""
    return Vector(name, sent, (*(200,) * len(bodies), status), bodies)


def lines(*them: bytes, end: bytes = b"\r\n") -> bytes:
    """Each with its line end, and the empty line."""
    return b"".join(line + end for line in (*them, b""))


def get(*fields: bytes, target: bytes = b"/", method: bytes = b"GET") -> bytes:
    """A request with these field lines beside `Host`."""
    return lines(method + b" " + target + b" HTTP/1.1", b"Host: a", *fields)


def post(*fields: bytes, body: bytes = b"") -> bytes:
    """The same with content; how long it is the fields say."""
    return get(*fields, method=b"POST") + body


def chunked(body: bytes) -> bytes:
    """A request whose content is chunked, as `body` has it."""
    return post(b"Transfer-Encoding: chunked", body=body)
