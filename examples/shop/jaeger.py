"""Jaeger for the demo, alone on this machine, and its query API; all that it knows is gone when it stops."""

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
from layout import FOLDER, JAEGER_HEALTH_PORT, JAEGER_OTLP_PORT, JAEGER_PORTS, JAEGER_QUERY_PORT, Ports
from processes import POLL_EVERY, Process, ShopError, check_free, find_program
from receiver import Span

# Seconds.
READY_WITHIN = 30.0


class Jaeger:
    """Version 2 of Jaeger, on the documented ports or on those in use instead."""

    def __init__(self, directory: Path, ports: Ports) -> None:
        self.endpoint = f"http://127.0.0.1:{ports[JAEGER_OTLP_PORT]}"
        self.api = f"http://127.0.0.1:{ports[JAEGER_QUERY_PORT]}"
        self._health = f"http://127.0.0.1:{ports[JAEGER_HEALTH_PORT]}/status"
        self._ports = ports
        self._config = directory / "jaeger.yaml"
        program = find_program("jaeger", "https://www.jaegertracing.io/download")
        command = [program, f"--config={self._config}"]
        self._process = Process("jaeger", command, os.environ, directory / "logs" / "jaeger.log", lambda *_: None)

    async def start(self) -> None:
        """Return when it takes spans. Raises ShopError."""
        check_free(self._ports, JAEGER_PORTS)
        self._process.log.parent.mkdir(parents=True, exist_ok=True)
        self._config.write_text(self._ports.in_text((FOLDER / "jaeger.yaml").read_text()))
        await self._process.start()
        self._session = aiohttp.ClientSession()
        try:
            async with asyncio.timeout(READY_WITHIN):
                while not await self._is_ready():  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(POLL_EVERY)
        except TimeoutError:
            raise ShopError(f"Jaeger is not ready within {READY_WITHIN:.0f} s; see {self._process.log}") from None

    async def stop(self) -> None:
        """End it."""
        if hasattr(self, "_session"):
            await self._session.close()
        await self._process.stop()

    def link(self, trace_id: str) -> str:
        """Where a trace is."""
        return f"{self.api}/api/traces/{trace_id}"

    async def spans(self, trace_id: str) -> list[Span]:
        """The spans of one trace that have arrived so far."""
        async with self._session.get(self.link(trace_id)) as answer:
            found = (await answer.json())["data"] if answer.status == 200 else []
        return [span for trace in found or () for span in _spans(trace)]

    async def newest(self, service: str, operation: str, since: float = 0, **tags: str) -> str:
        """The id of the newest trace with such a span that began after `since` (seconds); "" when there is none."""
        query = {"service": service, "operation": operation, "tags": json.dumps(tags), "limit": "1"}
        if since:
            query |= {"start": str(int(since * 1e6)), "end": str(int((since + 3600) * 1e6))}
        async with self._session.get(f"{self.api}/api/traces", params=query) as answer:
            found = (await answer.json())["data"] if answer.status == 200 else []
        return str(found[0]["traceID"]) if found else ""

    async def _is_ready(self) -> bool:
        self._process.check_alive()
        with suppress(aiohttp.ClientError):
            async with self._session.get(self._health) as answer:
                return answer.status == 200
        return False


def _spans(trace: Mapping[str, Any]) -> Iterator[Span]:
    for span in trace["spans"]:
        tags = {tag["key"]: str(tag["value"]) for tag in span["tags"]}
        parents = [to["spanID"] for to in span["references"] if to["refType"] == "CHILD_OF"]
        start = span["startTime"] * 1000
        yield Span(
            trace_id=span["traceID"],
            span_id=span["spanID"],
            parent_id=parents[0] if parents else "",
            service=trace["processes"][span["processID"]]["serviceName"],
            kind=tags.get("span.kind", "internal"),
            name=span["operationName"],
            start=start,
            end=start + span["duration"] * 1000,
            failed=tags.get("error") == "True",
            attributes=tags,
        )
