"""What an endpoint may say that would be two answers to somebody else, or none."""

from dataclasses import dataclass

SPLIT = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nX-Injected: yes\r\n\r\ninjected"


@dataclass(frozen=True)
class Said:
    """All that an endpoint says to one request, after which it closes; what a client gets of it.

    `status` 0: the answer breaks off, and nobody takes it for whole.
    """

    name: str
    said: bytes
    status: int = 502
    body: bytes = b""


def head(*fields: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join((start, *fields, b"", b""))


def whole(name: str, said: bytes, body: bytes = b"hello") -> Said:
    return Said(name, said, 200, body)


def cut(name: str, said: bytes) -> Said:
    return Said(name, said, 0)


CHUNKED = head(b"Transfer-Encoding: chunked")
LENGTH = b"Content-Length: 5"

ANSWERS = (
    whole("good", head(LENGTH) + b"hello"),
    whole("good-chunked", CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"),
    whole("until-the-end", head(start=b"HTTP/1.0 200 OK") + b"hello"),
    whole("an-answer-behind-the-answer", head(LENGTH) + b"hello" + SPLIT),
    whole("an-answer-behind-the-last-chunk", CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + SPLIT),
    whole("an-answer-inside", head(b"Content-Length: %d" % len(SPLIT)) + SPLIT, SPLIT),
    whole("length-with-zeros", head(b"Content-Length: 005") + b"hello"),
    whole("length-twice-and-equal", head(LENGTH, LENGTH) + b"hello"),
    whole("lines-by-lf", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    whole("space-before-the-colon", head(b"Content-Length : 5") + b"hello"),
    whole("connection-names-the-length", head(LENGTH, b"Connection: content-length") + b"hello"),
    whole("early-hints-first", head(start=b"HTTP/1.1 103 Early Hints") + head(LENGTH) + b"hello"),
    whole("trailers-that-frame", CHUNKED + b"5\r\nhello\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\n\r\n"),
    Said("length-twice-and-different", head(LENGTH, b"Content-Length: 6") + b"hello!"),
    Said("length-list", head(b"Content-Length: 5, 6") + b"hello!"),
    Said("length-signed", head(b"Content-Length: +5") + b"hello"),
    Said("length-negative", head(b"Content-Length: -5") + b"hello"),
    Said("length-hexadecimal", head(b"Content-Length: 0x5") + b"hello"),
    Said("length-empty", head(b"Content-Length:") + b"hello"),
    Said("length-beyond-64-bits", head(b"Content-Length: 18446744073709551621") + b"hello"),
    Said("length-and-coding", head(LENGTH, b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n"),
    Said("coding-twice", head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    Said("coding-unknown", head(b"Transfer-Encoding: gzip") + b"hello"),
    Said("coding-list", head(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n"),
    Said("coding-with-vertical-tab", head(b"Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n"),
    Said("coding-of-http-1.0", head(b"Transfer-Encoding: chunked", start=b"HTTP/1.0 200 OK") + b"0\r\n\r\n"),
    Said("cr-in-a-value", head(LENGTH, b"X: a\rSet-Cookie: b=c") + b"hello"),
    Said("nul-in-a-value", head(LENGTH, b"X: a\0b") + b"hello"),
    Said("nul-in-a-name", head(LENGTH, b"X\0Y: a") + b"hello"),
    Said("no-colon", head(LENGTH, b"nothing") + b"hello"),
    Said("folded", head(LENGTH, b"X: a", b" b") + b"hello"),
    Said("first-field-folded", head(b" X: a", LENGTH) + b"hello"),
    Said("no-status", head(LENGTH, start=b"HTTP/1.1") + b"hello"),
    Said("status-of-two-digits", head(LENGTH, start=b"HTTP/1.1 20 OK") + b"hello"),
    Said("status-of-four-digits", head(LENGTH, start=b"HTTP/1.1 2000 OK") + b"hello"),
    Said("status-below-100", head(LENGTH, start=b"HTTP/1.1 099 No") + b"hello"),
    Said("version-2", head(LENGTH, start=b"HTTP/2.0 200 OK") + b"hello"),
    Said("version-of-another-protocol", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    Said("cr-in-the-reason", head(LENGTH, start=b"HTTP/1.1 200 O\rK") + b"hello"),
    Said("content-alone", b"hello\r\n\r\n"),
    Said("nothing", b""),
    Said("half-a-head", b"HTTP/1.1 200 OK\r\nContent-Le"),
    Said("a-switch-that-nobody-asked-for", head(b"Upgrade: x", start=b"HTTP/1.1 101 Switching Protocols")),
    Said("head-too-large", head(b"X: " + b"x" * 100_000, LENGTH) + b"hello"),
    Said("too-many-fields", head(*[b"X: 1"] * 1000, LENGTH) + b"hello"),
    cut("shorter-than-its-length", head(LENGTH) + b"he"),
    cut("chunk-size-by-lf", CHUNKED + b"5\nhello\r\n0\r\n\r\n"),
    cut("chunk-size-signed", CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n"),
    cut("chunk-size-with-a-prefix", CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n"),
    cut("chunk-size-empty", CHUNKED + b"\r\nhello\r\n0\r\n\r\n"),
    cut("chunk-size-beyond-64-bits", CHUNKED + b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    cut("chunk-longer-than-its-size", CHUNKED + b"5\r\nhello!!\r\n0\r\n\r\n"),
    cut("no-last-chunk", CHUNKED + b"5\r\nhello\r\n"),
    cut("trailer-by-lf", CHUNKED + b"5\r\nhello\r\n0\r\nX: 1\n\r\n"),
    cut("trailers-without-end", CHUNKED + b"5\r\nhello\r\n0\r\nX: 1\r\n"),
)
