"""A real Jaeger with its storage in memory, and what its query API says."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mesh import ROOT, eventually
from tests.real.programs import cached, free_ports

VERSION = "jaeger-1.76.0"
CONFIG = ROOT / "examples" / "shop" / "jaeger.yaml"
# Of CONFIG.
OTLP_GRPC, OTLP_HTTP, QUERY, QUERY_GRPC, HEALTH = 4317, 4318, 16686, 16685, 13133
# Seconds.
READY_WITHIN = 30.0


@dataclass(frozen=True)
class Span:
    """As the query API has it; times in microseconds since the epoch."""

    id: str
    service: str
    name: str
    kind: str
    start: int
    end: int
    # Span id, in the same trace.
    parent: str
    # (trace, span) of other traces.
    linked: tuple[tuple[str, str], ...]
    tags: dict[str, Any]
    # Names of its events.
    events: tuple[str, ...]


class Jaeger:
    """On ports of its own; `grpc` and `http` are for OTEL_EXPORTER_OTLP_ENDPOINT."""

    def __init__(self, directory: Path) -> None:
        ports = free_ports(5)
        grpc, http, self._query, _, self._health = ports
        self.grpc, self.http = f"http://127.0.0.1:{grpc}", f"http://127.0.0.1:{http}"
        text = CONFIG.read_text()
        for documented, port in zip((OTLP_GRPC, OTLP_HTTP, QUERY, QUERY_GRPC, HEALTH), ports, strict=True):
            assert f":{documented}" in text
            text = text.replace(f":{documented}", f":{port}")
        self._config, self._log = directory / "jaeger.yaml", directory / "jaeger.log"
        self._config.write_text(text)

    def start(self) -> None:
        """Run it until it takes spans."""
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [cached(VERSION, "jaeger"), f"--config={self._config}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        eventually("Jaeger is ready", self._is_ready, within=READY_WITHIN)

    def kill(self) -> None:
        """At once: what it holds is in memory, and it takes its time to leave."""
        self._process.kill()
        self._process.wait()

    def trace(self, trace: str) -> Sequence[Span]:
        """The spans of it that have arrived."""
        return [span for found in self._ask(f"/api/traces/{trace}") for span in _spans(found)]

    def traces(self, **query: str) -> Sequence[Sequence[Span]]:
        """What a search finds: `service`, `operation`, `tags` as JSON."""
        found = self._ask(f"/api/traces?{urllib.parse.urlencode(query)}")
        return [list(_spans(trace)) for trace in found]

    def services(self) -> set[str]:
        """All that spans have come from."""
        return set(self._ask("/api/services"))

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, f"Jaeger exited:\n{self._log.read_text()}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._health}/status", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _ask(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._query}{path}", timeout=10) as answer:
                return json.loads(answer.read())["data"] or []
        except urllib.error.HTTPError as refusal:
            with refusal:
                if refusal.code == 404:
                    # A trace of which nothing has come yet.
                    return []
                raise AssertionError(f"{path}: {refusal.code} {refusal.read().decode()}") from None


def _spans(trace: dict[str, Any]) -> Iterator[Span]:
    for span in trace["spans"]:
        tags = {tag["key"]: tag["value"] for tag in span["tags"]}
        references = span["references"]
        parents = [to["spanID"] for to in references if to["refType"] == "CHILD_OF"]
        assert len(parents) <= 1
        fields = [{field["key"]: field["value"] for field in event["fields"]} for event in span["logs"]]
        yield Span(
            id=span["spanID"],
            service=trace["processes"][span["processID"]]["serviceName"],
            name=span["operationName"],
            kind=tags.get("span.kind", "internal"),
            start=span["startTime"],
            end=span["startTime"] + span["duration"],
            parent=parents[0] if parents else "",
            linked=tuple((to["traceID"], to["spanID"]) for to in references if to["refType"] == "FOLLOWS_FROM"),
            tags=tags,
            events=tuple(event.get("event", "") for event in fields),
        )


@contextmanager
def running(directory: Path) -> Iterator[Jaeger]:
    """One for as long as the block lasts."""
    jaeger = Jaeger(directory)
    try:
        jaeger.start()
        yield jaeger
    finally:
        jaeger.kill()
