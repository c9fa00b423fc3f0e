"""A caller that never stops, on one connection, and notes who answered when."""

import http.client
import threading
import time
from collections.abc import Callable
from itertools import takewhile
from types import TracebackType
from typing import NamedTuple, Self

from benchmarks.process import BenchError

# Seconds between two calls: the resolution of what is measured by them.
PAUSE = 0.001
# Seconds; a change that takes longer is no figure but a fault.
SEEN_WITHIN = 30.0
# Calls without an instance after which it is gone: of two in turn it would have answered half.
MANY = 40


class Call(NamedTuple):
    """When it was sent and answered (time.monotonic), and by whom; "" for an answer that was not 200."""

    sent: float
    answered: float
    body: str


class Caller:
    """Calls `host` at `address` while the block lasts."""

    def __init__(self, address: str, host: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=10)
        self._host = host
        self.calls: list[Call] = []

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._connection.close()

    def first(self, body: str, since: float) -> float:
        """When the first call was sent that `body` answered, of those sent after `since`."""
        return self._wait(f"an answer of {body}", lambda: self._sent(body, since)[:1])

    def last(self, body: str, since: float) -> float:
        """When the last call was sent that `body` answered, or `since`; many after it were answered by others."""

        def ended() -> list[float]:
            sent = [since, *self._sent(body, since)]
            return sent[-1:] if len(self._since(sent[-1])) > MANY else []

        return self._wait(f"the end of {body}", ended)

    def failures(self) -> int:
        """Calls that were not answered with 200."""
        return sum(not call.body for call in self.calls)

    def _sent(self, body: str, since: float) -> list[float]:
        return [call.sent for call in self._since(since) if call.body == body]

    def _since(self, moment: float) -> list[Call]:
        """The calls sent after `moment`, in order; only the newest part of the list is looked at."""
        found = list(takewhile(lambda call: call.sent > moment, reversed(self.calls)))
        return found[::-1]

    def _wait(self, what: str, probe: Callable[[], list[float]]) -> float:
        deadline = time.monotonic() + SEEN_WITHIN
        while not (found := probe()):
            if time.monotonic() > deadline:
                raise BenchError(f"{what} was not seen within {SEEN_WITHIN:g} s")
            time.sleep(PAUSE)
        return found[0]

    def _run(self) -> None:
        while not self._stop.wait(PAUSE):
            sent = time.monotonic()
            self._connection.request("GET", "/", headers={"Host": self._host})
            answer = self._connection.getresponse()
            body = answer.read().decode()
            self.calls.append(Call(sent, time.monotonic(), body if answer.status == 200 else ""))
