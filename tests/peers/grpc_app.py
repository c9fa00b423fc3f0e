"""A gRPC service by grpcio, with messages that are plain bytes: every kind of call, and the ways in which calls end."""

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import grpc
import grpc.aio

SERVICE = "peers.Echo"
# Above the 4 MiB that grpcio takes by default.
OPTIONS = [("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20)]


class Stub:
    """The service's methods, for a client."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/Unary")
        self.server_stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
            f"/{SERVICE}/ServerStream"
        )
        self.client_stream: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(
            f"/{SERVICE}/ClientStream"
        )
        self.conversation: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            f"/{SERVICE}/Conversation"
        )
        self.fail: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/Fail")
        self.hang: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/Hang")
        self.tell: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/Tell")
        self.unknown: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/Unknown")


@asynccontextmanager
async def calling(proxy: str, service: str) -> AsyncIterator[Stub]:
    """A channel of its own to `service`, through the listener of a proxy at "address:port"."""
    # Channels of one process share connections unless they are told not to.
    options = [("grpc.default_authority", service), ("grpc.use_local_subchannel_pool", 1), *OPTIONS]
    async with grpc.aio.insecure_channel(proxy, options=options) as channel:
        yield Stub(channel)


@dataclass
class GrpcApp:
    """The running service, and what it has seen."""

    port: int = 0
    # Set when a call to Hang or Conversation has begun, and when it was cancelled (and at what time.monotonic()).
    begun: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    cancelled_at: float = 0.0
    # Calls to Unary.
    calls: int = 0
    _counting: threading.Lock = field(default_factory=threading.Lock)
    # Lets calls to Hang end well.
    go: threading.Event = field(default_factory=threading.Event)

    def forget(self) -> None:
        """Before a test that waits for them."""
        for event in (self.begun, self.cancelled, self.go):
            event.clear()

    def _begin(self, context: grpc.ServicerContext) -> Callable[[], None]:
        """Watch a call; what is returned says that it ends well, so that its end is no cancellation."""
        ended_well = threading.Event()

        def ended() -> None:
            if not ended_well.is_set():
                self.cancelled_at = time.monotonic()
                self.cancelled.set()

        context.add_callback(ended)
        self.begun.set()
        return ended_well.set

    def unary(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        """The message; metadata of the call that begins with "x-" comes back, first and as trailers."""
        with self._counting:
            self.calls += 1
        sent = tuple((name, value) for name, value in context.invocation_metadata() if name.startswith("x-"))
        context.send_initial_metadata(tuple((f"first-{name}", value) for name, value in sent))
        context.set_trailing_metadata(tuple((f"last-{name}", value) for name, value in sent))
        return message

    def server_stream(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """The message as often as its first byte says."""
        context.set_trailing_metadata((("x-sent", str(message[0])),))
        yield from [message] * message[0]

    def client_stream(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        """All messages joined."""
        return b",".join(messages)

    def conversation(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Each message as it comes, in capitals."""
        ends_well = self._begin(context)
        for message in messages:
            yield message.upper()
        if context.is_active():
            ends_well()

    def fail(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        """An error with the message as its words, and details in binary."""
        context.set_trailing_metadata((("x-details-bin", bytes(range(256))),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, message.decode())
        return b""

    def hang(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        """The message, once `go` is set or nobody waits any more."""
        ends_well = self._begin(context)
        while context.is_active() and not self.go.wait(0.01):
            pass
        if context.is_active():
            ends_well()
        return message

    def tell(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        """Seconds until the call's deadline, "none" without one."""
        left = context.time_remaining()
        # Without one grpcio tells the end of time.
        return b"none" if left > 1e9 else str(left).encode()


@contextmanager
def grpc_app(workers: int = 16) -> Iterator[GrpcApp]:
    """Serve on a free port of 127.0.0.1 until the block ends."""
    app = GrpcApp()
    server = grpc.server(futures.ThreadPoolExecutor(workers), options=OPTIONS)
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Unary": grpc.unary_unary_rpc_method_handler(app.unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(app.server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(app.client_stream),
        "Conversation": grpc.stream_stream_rpc_method_handler(app.conversation),
        "Fail": grpc.unary_unary_rpc_method_handler(app.fail),
        "Hang": grpc.unary_unary_rpc_method_handler(app.hang),
        "Tell": grpc.unary_unary_rpc_method_handler(app.tell),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    app.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield app
    finally:
        app.go.set()
        server.stop(0).wait()
