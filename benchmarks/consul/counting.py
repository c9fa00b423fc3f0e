"""A relay before Consul's agent that counts the requests that pass."""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_REQUEST = re.compile(rb"^(?:GET|PUT|DELETE) /v1/[^ ]* HTTP/1\.1\r$", re.MULTILINE)


class Relay:
    """Counts, and forwards bytes as they come."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self.requests = 0
        self.address = ""

    @contextmanager
    def running(self) -> Iterator["Relay"]:
        """On a thread of its own."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            server = asyncio.run_coroutine_threadsafe(self._serve(), loop).result()
            yield self
            loop.call_soon_threadsafe(server.close)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

    async def _serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.address = "{}:{}".format(*server.sockets[0].getsockname())
        return server

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._agent.rpartition(":")
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
        with suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(
                self._forward(reader, upstream_writer, count=True), self._forward(upstream_reader, writer, count=False)
            )

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool) -> None:
        while data := await reader.read(65536):
            if count:
                # A client sends the head of a request in one piece.
                self.requests += len(_REQUEST.findall(data))
            writer.write(data)
            await writer.drain()
        writer.close()
