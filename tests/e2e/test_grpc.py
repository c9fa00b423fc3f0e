"""gRPC by grpcio on both sides: client → gateway → mTLS → sidecar → app. Nothing of a call gets lost on the way."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from tests.e2e.conftest import Running, last_failure
from tests.peers.grpc_app import GrpcApp, Stub, calling

# Seconds; far above what any call here takes, far below what a test may.
PATIENCE = 20.0
# Larger than every window and buffer on the way, and not a multiple of a frame.
LARGE = bytes(range(251)) * ((4 << 20) // 251)


@pytest.fixture
async def stub(running: Running, echo: GrpcApp) -> AsyncIterator[Stub]:
    """The app's methods, through the gateway."""
    async with calling(running.edge.edge, "echo") as stub:
        yield stub


async def test_a_unary_call(stub: Stub) -> None:
    assert await stub.unary(b"hello", timeout=PATIENCE) == b"hello"


async def test_a_stream_from_the_server(stub: Stub) -> None:
    call = stub.server_stream(b"\x05five", timeout=PATIENCE)
    assert [message async for message in call] == [b"\x05five"] * 5
    assert dict(await call.trailing_metadata())["x-sent"] == "5"


async def test_a_stream_from_the_client(stub: Stub) -> None:
    call = stub.client_stream(iter([b"a", b"", b"c"]), timeout=PATIENCE)
    assert await call == b"a,,c"


async def test_a_conversation_is_not_held_back(stub: Stub) -> None:
    call = stub.conversation(timeout=PATIENCE)
    for message in (b"one", b"two", b"three"):
        # The next message is only sent after the answer to this one: nobody on the way may wait for more.
        await call.write(message)
        assert await call.read() == message.upper()
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_metadata_arrives_in_both_directions_binary_too(stub: Stub) -> None:
    sent = (("x-text", "tea & cake"), ("x-raw-bin", bytes(range(256))), ("x-twice", "1"), ("x-twice", "2"))
    call = stub.unary(b"", metadata=sent, timeout=PATIENCE)
    await call

    first, last = list(await call.initial_metadata()), list(await call.trailing_metadata())
    for name, value in sent:
        assert (f"first-{name}", value) in first
        assert (f"last-{name}", value) in last


async def test_an_error_keeps_its_status_its_words_and_its_details(stub: Stub) -> None:
    words = "no tea left: ½ price, 100 % sold\nsorry"
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await stub.fail(words.encode(), timeout=PATIENCE)

    assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert failure.value.details() == words
    assert dict(failure.value.trailing_metadata())["x-details-bin"] == bytes(range(256))


async def test_a_method_that_the_app_does_not_have_is_told_by_the_app(stub: Stub) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="Method not found") as failure:
        await stub.unknown(b"", timeout=PATIENCE)
    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_large_messages_pass(stub: Stub) -> None:
    assert len(LARGE) > 4_000_000
    assert await stub.unary(LARGE, timeout=PATIENCE) == LARGE


async def test_many_large_messages_stream_at_once(stub: Stub) -> None:
    message = b"\x03" + LARGE[: 1 << 20]

    async def receive() -> bool:
        call = stub.server_stream(message, timeout=PATIENCE)
        return [part async for part in call] == [message] * 3

    assert await asyncio.gather(*(receive() for _ in range(4))) == [True] * 4


async def test_the_time_that_is_left_goes_on_with_the_call(stub: Stub) -> None:
    left = float(await stub.tell(b"", timeout=PATIENCE))
    # What the hops took is gone, and nothing was added; the format's unit may round by a millisecond.
    assert PATIENCE / 2 < left <= PATIENCE


async def test_a_call_without_a_deadline_stays_without(stub: Stub) -> None:
    assert await stub.tell(b"") == b"none"


async def test_the_callers_deadline_ends_the_call_everywhere(running: Running, echo: GrpcApp, stub: Stub) -> None:
    echo.forget()
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await stub.hang(b"", timeout=0.5)

    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await asyncio.to_thread(echo.cancelled.wait, PATIENCE)


async def test_the_routes_timeout_ends_a_call_that_has_none(running: Running, echo: GrpcApp) -> None:
    hasty = running.service(f"127.0.0.1:{echo.port}", protocol="grpc", timeout="300ms")
    echo.forget()
    async with calling(running.web.outbound, hasty) as stub:
        call = stub.hang(b"")
        with pytest.raises(grpc.aio.AioRpcError, match="The time for the call ended before its answer") as failure:
            await call

    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert dict(failure.value.trailing_metadata())["x-sidecar-reason"] == "timeout"
    assert await asyncio.to_thread(echo.cancelled.wait, PATIENCE)
    known = last_failure(running.web, hasty)
    assert (known["reason"], known["grpc_status"]) == ("timeout", "DEADLINE_EXCEEDED")


async def test_the_routes_timeout_shortens_the_callers(running: Running, echo: GrpcApp) -> None:
    hasty = running.service(f"127.0.0.1:{echo.port}", protocol="grpc", timeout="3s")
    async with calling(running.web.outbound, hasty) as stub:
        left = float(await stub.tell(b"", timeout=PATIENCE))
    assert 0 < left <= 3
