"""The same two programs in Go and in Node: an application, and a client that takes orders.

The application listens on two ports; on one it speaks HTTP/1.1, on the other HTTP/2:

/echo        what came: method, path, length of content and trailers, as JSON; the trailers again as trailers
/hints       103 with a link, then 200
/early       "early" at once, then the rest of the request; how much of it came is the outcome
/cut         200, "half", and then the connection or the stream breaks off
/refused     413 without reading the content
/status/N    status N
/events      one event, and another once the gate is open
/poll        "waiting" is the outcome; an answer once the gate is open
/call        a call of gRPC: its message comes back; with `only` a status alone, with `cut` it breaks off
/ws          a WebSocket: messages come back; "close CODE REASON" and "break" say how it ends; its outcome is what it
             heard; with `refuse` the handshake is answered with that status
/go          opens a gate
/outcome     waits for an outcome, and tells it

Gates and outcomes go by the `id` in the query. An order is a line of JSON, and so is what came of it; the fields of
both are those of `order`, `answer` and `session` in go/client.go and go/websocket.go.
"""

import http.client
import json
import os
import queue
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.real.programs import cached, debian

Json = dict[str, Any]

HERE = Path(__file__).parent
# Seconds; more than the programs give themselves.
PATIENCE = 30.0


def command(language: str) -> list[str]:
    """How to start the programs of a language."""
    if language == "go":
        return [cached("peer-go", "peer")]
    return [debian("node"), str(HERE / "node/peer.cjs")]


@contextmanager
def started(language: str, verb: str) -> Iterator["Lines"]:
    """One of the programs, until the block ends; it must then end well."""
    environment = {**os.environ, "NODE_PATH": cached("peer-node", "node_modules")}
    with subprocess.Popen(
        [*command(language), verb], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines = Lines(process.stdin, process.stdout)
        yield lines
        process.stdin.close()
        code = process.wait(10)
        lines.reader.join(10)
    assert code == 0, f"{language} {verb} ended with {code}"


class Lines:
    """What goes to a program and comes from it, one JSON a line."""

    def __init__(self, inward: IO[str], outward: IO[str]) -> None:
        self._inward = inward
        self._told: queue.Queue[str] = queue.Queue()
        # A program that has more to say than anybody reads must not wait.
        self.reader = threading.Thread(target=self._read_all, args=(outward,))
        self.reader.start()

    def _read_all(self, outward: IO[str]) -> None:
        for line in outward:
            self._told.put(line)
        self._told.put("")

    def write(self, what: Json) -> None:
        """One line to it."""
        self._inward.write(json.dumps(what) + "\n")
        self._inward.flush()

    def order(self, what: Json) -> Json:
        """What comes of an order."""
        self.write(what)
        return self.read()

    def read(self) -> Json:
        """The next line from it. Raises queue.Empty when none comes in time."""
        line = self._told.get(timeout=PATIENCE)
        assert line, "the program ended"
        return dict(json.loads(line))


def direct(port: int, path: str) -> str:
    """GET by HTTP/1.1 straight to an application: its gates and outcomes are no part of what is tested."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()
