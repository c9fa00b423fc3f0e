"""Where a request ends: lengths, codings, chunks, trailers, and requests hidden in the content of others."""

from tests.e2e.strictness.vector import Vector, chunked, dropped, get, lines, post, refused, taken, then_refused

TE = b"Transfer-Encoding: chunked"
HELLO, LAST = b"5\r\nhello\r\n", b"0\r\n\r\n"
# What somebody wants to have taken for a request of another.
HIDDEN = lines(b"GET /admin HTTP/1.1", b"Host: a")
ABOUT = b"Content-Length: %d" % len(LAST + HIDDEN)


def both(*fields: bytes, body: bytes = HELLO + LAST) -> bytes:
    """With a length and a coding, which these fields say in their own way."""
    return post(*fields, body=body)


LENGTH = (
    taken("COMP-POST-CL-BODY", post(b"Content-Length: 5", body=b"hello"), b"hello"),
    taken("COMP-POST-CL-ZERO", post(b"Content-Length: 0")),
    taken("COMP-POST-NO-CL-NO-TE", post()),
    taken("COMP-GET-WITH-CL-BODY", get(b"Content-Length: 5") + b"hello", b"hello"),
    taken("SMUG-HEAD-CL-BODY", get(b"Content-Length: 5", method=b"HEAD") + b"hello", b"hello"),
    taken("SMUG-OPTIONS-CL-BODY", get(b"Content-Length: 5", method=b"OPTIONS") + b"hello", b"hello"),
    taken("COMP-TRACE-WITH-BODY", get(b"Content-Length: 5", method=b"TRACE") + b"hello", b"hello"),
    taken("SMUG-CL-LEADING-ZEROS", post(b"Content-Length: 005", body=b"hello"), b"hello"),
    taken("SMUG-CL-LEADING-ZEROS-OCTAL", post(b"Content-Length: 010", body=b"helloworld"), b"helloworld"),
    taken("SMUG-CL-DOUBLE-ZERO", post(b"Content-Length: 00")),
    taken("SMUG-CL-TRAILING-SPACE", post(b"Content-Length: 5 ", body=b"hello"), b"hello"),
    taken("SMUG-CL-EXTRA-LEADING-SP", post(b"Content-Length:  5", body=b"hello"), b"hello"),
    taken("MAL-CL-TAB-BEFORE-VALUE", post(b"Content-Length:\t5", body=b"hello"), b"hello"),
    refused("SMUG-DUPLICATE-CL", post(b"Content-Length: 5", b"Content-Length: 10", body=b"helloworld")),
    refused("duplicate-cl-equal", post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello")),
    refused("duplicate-cl-in-other-case", post(b"Content-Length: 5", b"content-LENGTH: 6", body=b"hello!")),
    refused("SMUG-CL-COMMA-DIFFERENT", post(b"Content-Length: 5, 10", body=b"hello")),
    refused("SMUG-CL-COMMA-SAME", post(b"Content-Length: 5, 5", body=b"hello")),
    refused("SMUG-CL-COMMA-TRIPLE", post(b"Content-Length: 5, 5, 5", body=b"hello")),
    refused("SMUG-CL-NEGATIVE", post(b"Content-Length: -1")),
    refused("SMUG-CL-NEGATIVE-ZERO", post(b"Content-Length: -0")),
    refused("RFC9112-6.1-CL-PLUS-SIGN", post(b"Content-Length: +5", body=b"hello")),
    refused("RFC9112-6.1-CL-NON-NUMERIC", post(b"Content-Length: abc")),
    refused("cl-with-letters-behind", post(b"Content-Length: 5x", body=b"hello")),
    refused("cl-with-a-fraction", post(b"Content-Length: 5.0", body=b"hello")),
    refused("cl-with-an-exponent", post(b"Content-Length: 5e0", body=b"hello")),
    refused("SMUG-CL-OCTAL", post(b"Content-Length: 0o5", body=b"hello")),
    refused("SMUG-CL-HEX-PREFIX", post(b"Content-Length: 0x5", body=b"hello")),
    refused("SMUG-CL-INTERNAL-SPACE", post(b"Content-Length: 1 0", body=b"hello12345")),
    refused("SMUG-CL-UNDERSCORE", post(b"Content-Length: 1_0", body=b"helloworld")),
    refused("cl-quoted", post(b'Content-Length: "5"', body=b"hello")),
    refused("cl-in-other-digits", post(b"Content-Length: \xd9\xa5", body=b"hello")),
    refused("MAL-CL-EMPTY", post(b"Content-Length: ")),
    refused("MAL-CL-OVERFLOW", post(b"Content-Length: 99999999999999999999")),
    refused("cl-beyond-64-bits", post(b"Content-Length: 18446744073709551616")),
    refused("cl-wraps-to-five", post(b"Content-Length: 18446744073709551621", body=b"hello")),
    refused("cl-folded", post(b"Content-Length:", b" 5", body=b"hello")),
    refused("NORM-SP-BEFORE-COLON-CL", post(b"Content-Length: 11", b"Content-Length : 5", body=b"hello world")),
    # A name with an underscore is another name, and frames nothing.
    taken(
        "NORM-UNDERSCORE-CL", post(b"Content-Length: 11", b"Content_Length: 99", body=b"hello world"), b"hello world"
    ),
    dropped("COMP-POST-CL-UNDERSEND", post(b"Content-Length: 10", body=b"hello")),
    dropped("MAL-POST-CL-HUGE-NO-BODY", post(b"Content-Length: 999999999")),
    then_refused("SMUG-CL0-BODY-POISON", post(b"Content-Length: 0", body=b"X" + get(b"X : 1")), b""),
    taken("SMUG-GET-CL-BODY-DESYNC", get(b"Content-Length: 5") + b"hello" + get(), b"hello", b""),
    taken("SMUG-GET-CL-PREFIX-DESYNC", get(b"Content-Length: %d" % len(HIDDEN)) + HIDDEN + get(), HIDDEN, b""),
    taken("SMUG-EXPECT-100-CL", post(b"Content-Length: 5", b"Expect: 100-continue", body=b"hello"), b"hello"),
)

CODING = (
    taken("COMP-CHUNKED-BODY", chunked(HELLO + LAST), b"hello"),
    taken("te-in-capitals", post(b"Transfer-Encoding: CHUNKED", body=HELLO + LAST), b"hello"),
    taken("te-with-space-behind", post(b"Transfer-Encoding: chunked ", body=HELLO + LAST), b"hello"),
    taken("te-after-tab", post(b"Transfer-Encoding:\tchunked", body=HELLO + LAST), b"hello"),
    refused("SMUG-CL-TE-BOTH", both(b"Content-Length: 15", TE)),
    refused("te-and-cl-zero", both(TE, b"Content-Length: 0")),
    refused("SMUG-TE-XCHUNKED", both(b"Transfer-Encoding: xchunked", b"Content-Length: 5", body=b"hello")),
    refused("te-xchunked-alone", post(b"Transfer-Encoding: xchunked", body=HELLO + LAST)),
    refused("SMUG-TE-TRAILING-SPACE", both(b"Transfer-Encoding: chunked ", b"Content-Length: 5", body=b"hello")),
    refused("SMUG-TE-SP-BEFORE-COLON", both(b"Transfer-Encoding : chunked", b"Content-Length: 5", body=b"hello")),
    refused("SMUG-TE-CASE-MISMATCH", both(b"Transfer-Encoding: Chunked", b"Content-Length: 5", body=b"hello")),
    refused("SMUG-TE-TAB-BEFORE-VALUE", both(b"Transfer-Encoding:\tchunked", b"Content-Length: 5", body=b"hello")),
    refused("NORM-CASE-TE", both(b"Content-Length: 11", b"TRANSFER-ENCODING: chunked", body=b"hello world")),
    taken("SMUG-TRANSFER_ENCODING", both(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=b"hello"), b"hello"),
    taken(
        "NORM-UNDERSCORE-TE",
        both(b"Content-Length: 11", b"Transfer_Encoding: chunked", body=b"hello world"),
        b"hello world",
    ),
    refused(
        "SMUG-TE-DOUBLE-CHUNKED", both(b"Transfer-Encoding: chunked, chunked", b"Content-Length: 5", body=b"hello")
    ),
    refused("te-twice-in-a-list", post(b"Transfer-Encoding: chunked, chunked", body=HELLO + LAST)),
    refused("te-twice", post(TE, TE, body=HELLO + LAST)),
    refused("SMUG-TE-DUPLICATE-HEADERS", both(TE, b"Transfer-Encoding: identity", b"Content-Length: 5", body=b"hello")),
    refused("te-identity-then-chunked", post(b"Transfer-Encoding: identity", TE, body=HELLO + LAST)),
    refused("SMUG-TE-IDENTITY", both(b"Transfer-Encoding: identity", b"Content-Length: 5", body=b"hello")),
    refused("SMUG-TE-NOT-FINAL-CHUNKED", post(b"Transfer-Encoding: chunked, gzip", body=LAST)),
    refused("COMP-UNKNOWN-TE-501", post(b"Transfer-Encoding: gzip")),
    refused("te-gzip-then-chunked", post(b"Transfer-Encoding: gzip, chunked", body=HELLO + LAST), 501),
    refused("te-gzip-and-te-chunked", post(b"Transfer-Encoding: gzip", TE, body=HELLO + LAST)),
    refused("SMUG-TE-EMPTY-VALUE", both(b"Transfer-Encoding: ", b"Content-Length: 5", body=b"hello")),
    refused("SMUG-TE-LEADING-COMMA", both(b"Transfer-Encoding: , chunked", b"Content-Length: 5", body=b"hello"), 501),
    refused("te-comma-before", post(b"Transfer-Encoding: , chunked", body=HELLO + LAST), 501),
    refused("SMUG-TE-TRAILING-COMMA", both(b"Transfer-Encoding: chunked,", b"Content-Length: 5", body=b"hello"), 501),
    refused("te-comma-behind", post(b"Transfer-Encoding: chunked,", body=HELLO + LAST), 501),
    refused(
        "SMUG-CHUNKED-WITH-PARAMS", both(b"Transfer-Encoding: chunked;ext=val", b"Content-Length: 5", body=b"hello")
    ),
    refused("te-quoted", post(b'Transfer-Encoding: "chunked"', body=HELLO + LAST)),
    refused("te-with-a-word-behind", post(b"Transfer-Encoding: chunked x", body=HELLO + LAST)),
    refused("SMUG-TE-VTAB", both(b"Transfer-Encoding: \x0bchunked", b"Content-Length: 5", body=b"hello")),
    refused("SMUG-TE-FORMFEED", both(b"Transfer-Encoding: \x0cchunked", b"Content-Length: 5", body=b"hello")),
    refused("SMUG-TE-NULL", both(b"Transfer-Encoding: chunked\0", b"Content-Length: 5", body=b"hello")),
    refused("te-behind-a-space-of-unicode", post(b"Transfer-Encoding: \xa0chunked", body=HELLO + LAST)),
    refused("SMUG-TE-OBS-FOLD", both(b"Transfer-Encoding:", b" chunked", b"Content-Length: 5", body=b"hello")),
    refused("SMUG-OPTIONS-TE-OBS-FOLD", get(b"Transfer-Encoding:", b" chunked", method=b"OPTIONS") + LAST),
    refused("SMUG-TE-HTTP10", lines(b"POST / HTTP/1.0", b"Host: a", TE, b"Content-Length: 5") + b"hello"),
    refused("te-of-http-1.0-alone", lines(b"POST / HTTP/1.0", b"Host: a", TE) + HELLO + LAST),
    taken("te-of-a-get", get(TE) + HELLO + LAST, b"hello"),
)


def broken(name: str, body: bytes) -> Vector:
    """Content whose end nobody can tell: it never arrives whole."""
    return refused(name, chunked(body))


CHUNKS = (
    taken("COMP-CHUNKED-MULTI", chunked(HELLO + b"6\r\n world\r\n" + LAST), b"hello world"),
    taken("COMP-CHUNKED-EMPTY", chunked(LAST)),
    taken("COMP-CHUNKED-HEX-UPPERCASE", chunked(b"A\r\nhelloworld\r\n" + LAST), b"helloworld"),
    taken("chunk-size-with-zeros", chunked(b"0005\r\nhello\r\n000\r\n\r\n"), b"hello"),
    taken("COMP-CHUNKED-EXTENSION", chunked(b"5;ext=value\r\nhello\r\n" + LAST), b"hello"),
    taken("chunk-extension-quoted", chunked(b'5;ext="a;b"\r\nhello\r\n' + LAST), b"hello"),
    dropped("COMP-CHUNKED-NO-FINAL", chunked(HELLO)),
    dropped("chunk-cut-off", chunked(b"5\r\nhe")),
    broken("SMUG-CHUNK-BARE-SEMICOLON", b"5;\r\nhello\r\n" + LAST),
    broken("SMUG-CHUNK-EXT-INVALID-TOKEN", b"5;bad[=x\r\nhello\r\n" + LAST),
    broken("SMUG-CHUNK-EXT-LF", b"5;\nhello\r\n" + LAST),
    broken("chunk-extension-hides-a-chunk", b"2;\nxx\r\n4c\r\n" + LAST),
    broken("SMUG-CHUNK-EXT-CTRL", b"5;\x01\r\nhello\r\n" + LAST),
    broken("SMUG-CHUNK-EXT-CR", b"5;a\rb\r\nhello\r\n" + LAST),
    broken("chunk-extension-with-nul", b"5;a=\0\r\nhello\r\n" + LAST),
    broken("MAL-CHUNK-EXT-64K", b"5;ext=" + b"a" * 65_536 + b"\r\nhello\r\n" + LAST),
    broken("SMUG-CHUNK-UNDERSCORE", b"1_0\r\nhello world!!!!!\r\n" + LAST),
    broken("SMUG-CHUNK-HEX-PREFIX", b"0x5\r\nhello\r\n" + LAST),
    broken("SMUG-CHUNK-SIZE-PLUS", b"+5\r\nhello\r\n" + LAST),
    broken("SMUG-CHUNK-NEGATIVE", b"-1\r\nhello\r\n" + LAST),
    broken("SMUG-CHUNK-SIZE-TRAILING-OWS", b"5 \r\nhello\r\n" + LAST),
    broken("SMUG-CHUNK-LEADING-SP", b" 5\r\nhello\r\n" + LAST),
    broken("chunk-size-tab-behind", b"5\t\r\nhello\r\n" + LAST),
    broken("chunk-size-then-a-word", b"5 x\r\nhello\r\n" + LAST),
    broken("chunk-size-empty", b"\r\nhello\r\n" + LAST),
    broken("chunk-size-no-number", b"g\r\nhello\r\n" + LAST),
    broken("chunk-size-with-nul", b"5\0\r\nhello\r\n" + LAST),
    broken("MAL-CHUNK-SIZE-OVERFLOW", b"FFFFFFFFFFFFFFFF0\r\nhello\r\n" + LAST),
    broken("chunk-size-wraps-to-five", b"10000000000000005\r\nhello\r\n" + LAST),
    dropped("chunk-size-of-64-bits", chunked(b"ffffffffffffffff\r\nhello\r\n" + LAST)),
    broken("SMUG-CHUNK-MISSING-TRAILING-CRLF", b"5\r\nhello" + LAST),
    broken("SMUG-CHUNK-SPILL", b"5\r\nhello!!\r\n" + LAST),
    broken("SMUG-CHUNK-LF-TERM", b"5\r\nhello\n" + LAST),
    broken("chunk-content-then-lf-cr", b"5\r\nhello\n\r" + LAST),
    broken("chunk-size-line-by-lf", b"5\nhello\r\n" + LAST),
    broken("SMUG-CHUNK-BARE-CR-TERM", b"5\rhello\r\n" + LAST),
    broken("SMUG-CHUNK-LF-TRAILER", HELLO + b"0\r\n\n"),
    broken("last-chunk-by-lf", HELLO + b"0\n\n"),
    broken("SMUG-CHUNK-INVALID-SIZE-DESYNC", b"+0\r\n\r\nX"),
    # Trailers
    taken("COMP-CHUNKED-TRAILER-VALID", chunked(HELLO + b"0\r\nX-Checksum: abc\r\n\r\n"), b"hello"),
    taken("SMUG-TRAILER-CL", chunked(HELLO + b"0\r\nContent-Length: 50\r\n\r\n"), b"hello"),
    taken("SMUG-TRAILER-TE", chunked(HELLO + b"0\r\nTransfer-Encoding: chunked\r\n\r\n"), b"hello"),
    taken("SMUG-TRAILER-HOST", chunked(HELLO + b"0\r\nHost: evil.example.com\r\n\r\n"), b"hello"),
    taken("SMUG-TRAILER-AUTH", chunked(HELLO + b"0\r\nAuthorization: Bearer evil\r\n\r\n"), b"hello"),
    taken("SMUG-TRAILER-CONTENT-TYPE", chunked(HELLO + b"0\r\nContent-Type: text/evil\r\n\r\n"), b"hello"),
    broken("trailer-with-a-space-before-the-colon", HELLO + b"0\r\nX : 1\r\n\r\n"),
    broken("trailer-folded", HELLO + b"0\r\nX: 1\r\n 2\r\n\r\n"),
    broken("trailer-by-lf", HELLO + b"0\r\nX: 1\n\r\n"),
    broken("trailer-with-cr", HELLO + b"0\r\nX: 1\r2\r\n\r\n"),
    broken("trailer-with-nul", HELLO + b"0\r\nX: \0\r\n\r\n"),
    dropped("trailers-without-end", chunked(HELLO + b"0\r\nX: 1\r\n")),
    broken("trailers-too-large", HELLO + b"0\r\nX: " + b"x" * 65_536 + b"\r\n\r\n"),
)

PAIRS = (
    refused("SMUG-CLTE-PIPELINE", both(b"Content-Length: 4", TE, body=LAST) + get()),
    refused("SMUG-TECL-PIPELINE", both(TE, b"Content-Length: 30", body=LAST) + get()),
    refused("SMUG-CLTE-CONN-CLOSE", both(b"Content-Length: 5", TE, body=LAST) + get()),
    refused("SMUG-TECL-CONN-CLOSE", both(TE, b"Content-Length: 5", body=LAST) + get()),
    refused("SMUG-CLTE-DESYNC", both(b"Content-Length: 6", TE, body=LAST + b"X") + get()),
    refused("SMUG-TECL-DESYNC", both(TE, b"Content-Length: 30", body=LAST + b"X") + get()),
    refused("SMUG-CLTE-SMUGGLED-GET", both(ABOUT, TE, body=LAST + HIDDEN)),
    refused("SMUG-CLTE-SMUGGLED-HEAD", both(ABOUT, TE, body=LAST + b"HEAD" + HIDDEN[3:])),
    refused(
        "SMUG-CLTE-SMUGGLED-GET-CL-PLUS",
        both(b"Content-Length: +%d" % len(LAST + HIDDEN), TE, body=LAST + HIDDEN),
    ),
    refused("SMUG-CLTE-SMUGGLED-GET-CL-NON-NUMERIC", both(ABOUT + b"x", TE, body=LAST + HIDDEN)),
    refused("SMUG-CLTE-SMUGGLED-GET-TE-OBS-FOLD", both(b"Transfer-Encoding:", b" chunked", ABOUT, body=LAST + HIDDEN)),
    refused("SMUG-CLTE-SMUGGLED-GET-TE-TRAILING-SPACE", both(ABOUT, TE + b" ", body=LAST + HIDDEN)),
    refused(
        "SMUG-CLTE-SMUGGLED-GET-TE-LEADING-COMMA",
        both(ABOUT, b"Transfer-Encoding: , chunked", body=LAST + HIDDEN),
        501,
    ),
    refused("SMUG-CLTE-SMUGGLED-GET-TE-CASE-MISMATCH", both(ABOUT, b"Transfer-Encoding: Chunked", body=LAST + HIDDEN)),
    refused(
        "SMUG-TE-DUPLICATE-HEADERS-SMUGGLED-GET",
        both(TE, b"Transfer-Encoding: identity", ABOUT, body=LAST + HIDDEN),
    ),
    refused("SMUG-TECL-SMUGGLED-GET", both(TE, b"Content-Length: 4", body=b"%x\r\n" % len(HIDDEN) + HIDDEN + LAST)),
    refused(
        "SMUG-DUPLICATE-CL-SMUGGLED-GET",
        post(b"Content-Length: 4", b"Content-Length: %d" % len(b"PING" + HIDDEN), body=b"PING" + HIDDEN),
    ),
    # Content is content, whatever it looks like.
    taken("hidden-in-a-length", post(b"Content-Length: %d" % len(HIDDEN), body=HIDDEN), HIDDEN),
    taken("hidden-in-a-chunk", chunked(b"%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n" + LAST), HIDDEN),
    taken("two-in-a-row", chunked(HELLO + LAST) + get(), b"hello", b""),
    then_refused("bad-one-behind-a-good-one", chunked(HELLO + LAST) + both(b"Content-Length: 5", TE), b"hello"),
)

FRAMINGS: tuple[Vector, ...] = (*LENGTH, *CODING, *CHUNKS, *PAIRS)
