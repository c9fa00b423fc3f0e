"""Requests of HTTP/2 that would become others when they are written in HTTP/1.1."""

from dataclasses import dataclass

Fields = tuple[tuple[str, str], ...]

HEAD: Fields = ((":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"))
POST: Fields = ((":method", "POST"), *HEAD[1:])
SMUGGLED = "x\r\n\r\nGET /admin HTTP/1.1\r\nHost: a"


@dataclass(frozen=True)
class Downgrade:
    """A head, content and trailers as they stand in the frames. `is_taken`: one request arrives, with that content."""

    name: str
    head: Fields
    body: bytes = b""
    trailers: Fields = ()
    is_taken: bool = False


def but(name: str, value: str, head: Fields = HEAD) -> Fields:
    """The head with another value of one of its own."""
    return tuple((own, value if own == name else old) for own, old in head)


def without(name: str) -> Fields:
    """The head without one of its own."""
    return tuple(field for field in HEAD if field[0] != name)


def odd(name: str, field: tuple[str, str], body: bytes = b"") -> Downgrade:
    """One field that may not stand there, beside good ones."""
    return Downgrade(name, (*(POST if body else HEAD), field), body)


PSEUDO = (
    Downgrade("good", HEAD, is_taken=True),
    Downgrade("good-with-content", POST, b"hello", is_taken=True),
    Downgrade("method-with-crlf", but(":method", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET")),
    Downgrade("method-with-space", but(":method", "GET /admin")),
    Downgrade("method-empty", but(":method", "")),
    Downgrade("method-with-lf", but(":method", "GET\n")),
    Downgrade("path-with-crlf", but(":path", "/ HTTP/1.1\r\nX: y")),
    Downgrade("path-with-lf", but(":path", "/\nx")),
    Downgrade("path-with-space", but(":path", "/a HTTP/1.1")),
    Downgrade("path-with-tab", but(":path", "/a\tb")),
    Downgrade("path-with-nul", but(":path", "/a\0b")),
    Downgrade("path-with-encoded-nul", but(":path", "/a%00b")),
    # Cut off behind the path before anybody of ours has seen it: it routes nothing, and goes nowhere.
    Downgrade("path-with-fragment", but(":path", "/a#b"), is_taken=True),
    Downgrade("path-beyond-ascii", but(":path", "/é")),
    Downgrade("path-empty", but(":path", "")),
    Downgrade("path-relative", but(":path", "x")),
    Downgrade("path-absolute-form", but(":path", "http://other/")),
    Downgrade("path-star-of-a-get", but(":path", "*")),
    Downgrade("path-star-of-options", but(":path", "*", but(":method", "OPTIONS")), is_taken=True),
    Downgrade("authority-with-crlf", but(":authority", "a\r\nX: y")),
    Downgrade("authority-with-space", but(":authority", "a b")),
    Downgrade("authority-with-userinfo", but(":authority", "u@a")),
    Downgrade("authority-with-path", but(":authority", "a/b")),
    Downgrade("authority-with-comma", but(":authority", "a, b")),
    Downgrade("authority-with-bad-port", but(":authority", "a:99999")),
    Downgrade("authority-empty", but(":authority", "")),
    Downgrade("scheme-with-authority", but(":scheme", "http://other/?")),
    Downgrade("scheme-with-crlf", but(":scheme", "http\r\nX: y")),
    Downgrade("no-method", without(":method")),
    Downgrade("no-scheme", without(":scheme")),
    Downgrade("no-path", without(":path")),
    Downgrade("no-authority-and-no-host", without(":authority")),
    Downgrade("path-twice", (*HEAD, (":path", "/b"))),
    Downgrade("method-twice", (*HEAD, (":method", "POST"))),
    Downgrade("authority-twice", (*HEAD, (":authority", "b"))),
    Downgrade("pseudo-behind-others", (*HEAD[:3], ("x", "1"), HEAD[3])),
    Downgrade("unknown-pseudo", (*HEAD, (":x", "1"))),
    Downgrade("pseudo-of-answers", (*HEAD, (":status", "200"))),
    Downgrade("connect-with-a-path", but(":method", "CONNECT")),
)

OTHERS = (
    odd("value-with-crlf", ("x", SMUGGLED)),
    odd("value-with-cr", ("x", "a\rb")),
    odd("value-with-lf", ("x", "a\nb")),
    odd("value-with-nul", ("x", "a\0b")),
    odd("name-with-crlf", ("x: y\r\nz", "1")),
    odd("name-with-lf", ("x\ny", "1")),
    odd("name-with-colon", ("x:y", "1")),
    odd("name-with-space", ("x y", "1")),
    odd("name-with-nul", ("x\0y", "1")),
    odd("name-in-capitals", ("X-Test", "1")),
    odd("name-empty", ("", "1")),
    odd("te-chunked", ("transfer-encoding", "chunked"), body=b"0\r\n\r\n"),
    odd("te-identity", ("transfer-encoding", "identity"), body=b"hello"),
    odd("te-other-than-trailers", ("te", "gzip")),
    odd("connection", ("connection", "close")),
    odd("connection-hides-host", ("connection", "host")),
    odd("keep-alive", ("keep-alive", "timeout=5")),
    odd("proxy-connection", ("proxy-connection", "close")),
    odd("upgrade", ("upgrade", "websocket")),
    odd("host-that-differs", ("host", "b")),
    Downgrade("host-twice", (*HEAD, ("host", "a"), ("host", "b"))),
    Downgrade("te-trailers", (*HEAD, ("te", "trailers")), is_taken=True),
    Downgrade("host-that-agrees", (*HEAD, ("host", "a")), is_taken=True),
)

LENGTHS = (
    Downgrade("cl-right", (*POST, ("content-length", "5")), b"hello", is_taken=True),
    Downgrade("cl-zero-without-content", (*POST, ("content-length", "0")), is_taken=True),
    odd("cl-too-small", ("content-length", "0"), body=b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"),
    odd("cl-smaller", ("content-length", "4"), body=b"hello"),
    odd("cl-larger", ("content-length", "6"), body=b"hello"),
    Downgrade("cl-without-content", (*POST, ("content-length", "5"))),
    odd("cl-signed", ("content-length", "+5"), body=b"hello"),
    odd("cl-negative", ("content-length", "-5"), body=b"hello"),
    odd("cl-list", ("content-length", "5, 5"), body=b"hello"),
    odd("cl-no-number", ("content-length", "five"), body=b"hello"),
    odd("cl-empty", ("content-length", ""), body=b"hello"),
    odd("cl-with-crlf", ("content-length", "5\r\nX: y"), body=b"hello"),
    Downgrade("cl-twice", (*POST, ("content-length", "5"), ("content-length", "6")), b"hello"),
)

TRAILERS = (
    Downgrade("trailer-good", POST, b"hello", (("x", "1"),), is_taken=True),
    Downgrade("trailer-with-crlf", POST, b"hello", (("x", SMUGGLED),)),
    # Dropped.
    Downgrade("trailer-with-pseudo", POST, b"hello", ((":path", "/b"),), is_taken=True),
    Downgrade("trailer-in-capitals", POST, b"hello", (("X", "1"),)),
    Downgrade("trailer-of-the-connection", POST, b"hello", (("transfer-encoding", "chunked"),)),
)

DOWNGRADES: tuple[Downgrade, ...] = (*PSEUDO, *OTHERS, *LENGTHS, *TRAILERS)
