"""Reads single fields of serialized protobuf messages without decoding them: nothing that is read here can fail."""

from collections.abc import Iterator


def count_spans(request: bytes) -> int:
    """Spans in a serialized ExportTraceServiceRequest."""
    # request.resource_spans = 1, resource_spans.scope_spans = 2, scope_spans.spans = 2
    return sum(
        _count(bytes(scope_spans), 2)
        for resource_spans in _submessages(memoryview(request), 1)
        for scope_spans in _submessages(resource_spans, 2)
    )


def count_rejected(reply: bytes) -> int:
    """Spans that the receiver says it refused, in a serialized ExportTraceServiceResponse."""
    # response.partial_success = 1, partial_success.rejected_spans = 1
    return sum(
        value
        for partial_success in _submessages(memoryview(reply), 1)
        for number, value in _fields(partial_success)
        if number == 1 and isinstance(value, int)
    )


def retry_delay(status: bytes) -> float | None:
    """Seconds of the google.rpc.RetryInfo in a serialized google.rpc.Status; None when it has none."""
    # status.details = 3, Any.type_url = 1 and value = 2, RetryInfo.retry_delay = 1, Duration.seconds = 1 and nanos = 2
    for detail in _submessages(memoryview(status), 3):
        names = [bytes(name) for name in _submessages(detail, 1)]
        if names == [b"type.googleapis.com/google.rpc.RetryInfo"]:
            delays = (delay for info in _submessages(detail, 2) for delay in _submessages(info, 1))
            parts = {number: value for delay in delays for number, value in _fields(delay) if isinstance(value, int)}
            return parts.get(1, 0) + parts.get(2, 0) / 1e9
    return None


def _count(message: bytes, number: int) -> int:
    """How many `_submessages` there are. Written out, because every span passes here: in a third of the time."""
    wanted = number << 3 | 2
    found = position = 0
    try:
        while position < len(message):
            tag = message[position]
            if tag & 0x87 != 2:
                return found + sum(1 for _ in _submessages(memoryview(message)[position:], number))
            length = shift = 0
            while (byte := message[position := position + 1]) >= 0x80:
                length |= (byte & 0x7F) << shift
                shift += 7
            position += 1 + (length | byte << shift)
            found += tag == wanted
    except IndexError:
        pass
    return found


def _submessages(message: memoryview, number: int) -> Iterator[memoryview]:
    return (value for field, value in _fields(message) if field == number and isinstance(value, memoryview))


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of each field; stops at the first byte that is no protobuf."""
    position = 0
    try:
        while position < len(message):
            tag, position = _varint(message, position)
            match tag & 7:
                case 0:
                    value, position = _varint(message, position)
                    yield tag >> 3, value
                case 2:
                    length, position = _varint(message, position)
                    yield tag >> 3, message[position : position + length]
                    position += length
                case 1:
                    position += 8
                case 5:
                    position += 4
                case _:
                    return
    except IndexError:
        return


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
