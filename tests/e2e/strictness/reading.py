"""How a server that is not ours reads bytes: Python's `h11`."""

from dataclasses import dataclass, field

import h11

# What a reader has no more of whose last request was to be the last.
_CLOSED = "closed"


@dataclass(frozen=True)
class Reading:
    """One complete request."""

    method: str
    target: str
    host: str
    body: bytes
    # The bytes that it was read from.
    raw: bytes = field(compare=False, repr=False)
    fields: tuple[tuple[str, str], ...] = field(compare=False, default=())


class Reader:
    """Reads requests from bytes that come in pieces, and answers each as soon as it is complete."""

    def __init__(self) -> None:
        # As much as ours takes by default, and then some.
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=256 << 10)
        # What has come behind the last complete request.
        self.left = b""
        self._head: h11.Request | None = None
        self._body = b""
        self.readings: list[Reading] = []
        # Why nothing more can be read; "" while it can.
        self.trouble = ""

    @property
    def is_confused(self) -> bool:
        """What has come is no request, and no part of one."""
        return self.trouble not in ("", _CLOSED)

    def feed(self, data: bytes) -> bytes:
        """What is to be answered to these bytes; b"" at the end of them all."""
        self.left += data
        answer = b""
        try:
            self._h11.receive_data(data)
            while (event := self._h11.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                answer += self._take(event)
                if self.trouble or isinstance(event, h11.ConnectionClosed):
                    break
        except h11.RemoteProtocolError as error:
            self.trouble = str(error)
        return answer

    def _take(self, event: object) -> bytes:
        if isinstance(event, h11.Request):
            self._head = event
        elif isinstance(event, h11.Data):
            self._body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return self._complete()
        return b""

    def _complete(self) -> bytes:
        assert self._head is not None
        head, rest = self._head, bytes(self._h11.trailing_data[0])
        fields = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers)
        raw = self.left[: len(self.left) - len(rest)]
        self.readings.append(
            Reading(
                head.method.decode(),
                head.target.decode("latin-1"),
                dict(fields).get("host", ""),
                self._body,
                raw,
                fields,
            )
        )
        self.left, self._head, self._body = rest, None, b""
        # A tunnel would be the end of all reading.
        status = 405 if head.method == b"CONNECT" else 200
        answer = self._h11.send(h11.Response(status_code=status, headers=[("content-length", "2")])) or b""
        if head.method != b"HEAD":
            answer += self._h11.send(h11.Data(data=b"ok")) or b""
        answer += self._h11.send(h11.EndOfMessage()) or b""
        if self._h11.our_state is h11.MUST_CLOSE:
            self.trouble = _CLOSED
        else:
            self._h11.start_next_cycle()
        return answer


def read(data: bytes) -> Reader:
    """All of `data`, after which nothing comes."""
    reader = Reader()
    reader.feed(data)
    return reader


def read_answer(data: bytes) -> tuple[int, bytes, bytes]:
    """Status and content of the first whole answer to a GET, and the bytes behind it; status 0: it is not whole."""
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=256 << 10)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    client.receive_data(b"")
    status, body = 0, b""
    try:
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif not isinstance(event, h11.InformationalResponse):
                return 0, body, b""
    except h11.RemoteProtocolError:
        return 0, body, b""
    return status, body, bytes(client.trailing_data[0])
