"""Callers that call again and again, by clients that share no code with us, and what each call came to."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from types import TracebackType
from typing import NamedTuple, Self

import grpc

from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import CutOff, Ended, Request
from tests.real.faults.wire import BODY, MESSAGES, Wire

# Seconds: longer than any timeout of a proxy's.
PATIENCE = 10.0


class Call(NamedTuple):
    """When it began (time.monotonic) and how long it took, in seconds; `why` it failed, "" when it did not."""

    at: float
    seconds: float
    why: str


class _Http:
    """One connection after the other."""

    def __init__(self, speak: type[Http1] | type[Http2], address: str, host: str) -> None:
        self._speak, self._address = speak, address
        self._request = Request(path="/work", host=host)
        self._peer: Http1 | Http2 | None = None

    def call(self) -> str:
        """Why it failed, "" when it did not."""
        try:
            if self._peer is None:
                self._peer = self._speak.connect(self._address)
            answer = self._peer.ask(self._request)
        except (CutOff, Ended, OSError) as error:
            self.close()
            return repr(error)
        if isinstance(self._peer, Http2):
            self._peer.streams.clear()
        if answer.fields.get("connection") == "close":
            self.close()
        if answer.status != 200:
            return f"status {answer.status}"
        return "" if answer.body == BODY else "another body"

    def close(self) -> None:
        if self._peer is not None:
            self._peer.close()
            self._peer = None


class _Grpc:
    """One channel, of which grpcio keeps the connection; it does not try again by itself."""

    def __init__(self, wire: Wire, address: str, host: str) -> None:
        options = [
            ("grpc.default_authority", host),
            # Channels of one process share connections unless they are told not to.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
        ]
        self._wire = wire
        self._channel = grpc.insecure_channel(address, options=options)
        self._unary: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary("/faults.Work/Unary")
        self._stream: grpc.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream("/faults.Work/Stream")

    def call(self) -> str:
        """Why it failed, "" when it did not."""
        try:
            if self._wire is Wire.UNARY:
                messages = [self._unary(b"", timeout=PATIENCE)]
            else:
                messages = list(self._stream(b"", timeout=PATIENCE))
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return "" if messages == MESSAGES[self._wire] else "other messages"

    def close(self) -> None:
        self._channel.close()


def _client(wire: Wire, address: str, host: str) -> _Http | _Grpc:
    if wire.is_grpc:
        return _Grpc(wire, address, host)
    return _Http(Http1 if wire is Wire.HTTP1 else Http2, address, host)


def call_until(enough: Callable[[Call], bool], wire: Wire, address: str, host: str, within: float) -> list[Call]:
    """Calls by one client, one after the other, the last of which is enough; or as many as fit into so many seconds."""
    calls: list[Call] = []
    deadline = time.monotonic() + within
    with closing(_client(wire, address, host)) as client:
        while time.monotonic() < deadline:
            calls.append(_timed(client))
            if enough(calls[-1]):
                break
    return calls


def _timed(client: _Http | _Grpc) -> Call:
    begun = time.monotonic()
    why = client.call()
    return Call(begun, time.monotonic() - begun, why)


class Callers(AbstractContextManager["Callers"]):
    """So many while the block lasts, each a client of its own; all call at once, every so many seconds.

    By the clock, so that proxies are offered the same load: who paused after each call would ask a proxy the more, the
    sooner it says no. A call that lasts longer makes its caller miss a turn.
    """

    def __init__(self, wire: Wire, address: str, host: str, callers: int, every: float) -> None:
        self._wire, self._address, self._host, self._every = wire, address, host, every
        self._calls: list[list[Call]] = [[] for _ in range(callers)]
        self._stop = threading.Event()
        self._begun = time.monotonic()
        self._threads = [threading.Thread(target=self._run, args=(calls,)) for calls in self._calls]

    def _run(self, calls: list[Call]) -> None:
        with closing(_client(self._wire, self._address, self._host)) as client:
            while not self._stop.is_set():
                time.sleep(self._every - (time.monotonic() - self._begun) % self._every)
                calls.append(_timed(client))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def between(self, begin: float, end: float) -> list[Call]:
        """Those that began in that time."""
        return [call for calls in self._calls for call in calls if begin <= call.at < end]


def quantile(calls: Iterable[Call], share: float) -> float:
    """Seconds within which that share of the calls ended."""
    ordered: Sequence[float] = sorted(call.seconds for call in calls)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
