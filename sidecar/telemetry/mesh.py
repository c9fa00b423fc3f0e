"""What happens to this proxy itself, as spans of one trace that lasts as long as the process.

The data plane is told ids before there are spans of them, and links the requests that an event touched: those under a
configuration to its change, those around an ejected endpoint to the ejection, those that were cut off to the drain.
"""

import os
import secrets
import time
from collections.abc import Callable, Mapping

from sidecar.wire import otlp_pb2 as otlp
from sidecar.wire import telemetry_pb2

# By this name who looks at requests alone can leave these spans out.
SCOPE = "sidecar.mesh"
INTERNAL = 1
ERROR = 2
# Sampled; and that the parent is in this process (SpanFlags of opentelemetry-proto).
FLAGS = 0x001 | 0x100
# Characters of one value: as much as the data plane keeps of what a caller says.
MAX_VALUE = 4096


def new_id() -> int:
    """Of a span."""
    return secrets.randbits(64) or 1


class MeshTrace:
    """Makes the spans; `offer` takes each as one ExportTraceServiceRequest, None: nobody wants them.

    `clock` gives nanoseconds since the epoch.
    """

    def __init__(
        self,
        role: str,
        name: str,
        offer: Callable[[bytes], None] | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._role, self._name = role, name
        self._offer = offer
        self.now = clock
        # When this process did.
        self.began = clock()
        self._trace_id = secrets.token_bytes(16)
        self._root, self._drain, self._config = new_id(), new_id(), new_id()
        # What is told of this process with all of its telemetry: of the settings in force; none are yet.
        self.resource: Mapping[str, str] = {}
        # Somebody wants these spans.
        self.is_on = False

    def overlay(self, tracing: telemetry_pb2.Tracing) -> int:
        """Tell the next snapshot of us; returns the id of its change's span."""
        self._config = new_id()
        self.resource = dict(tracing.resource)
        # Who samples nothing wants no spans at all.
        self.is_on = self._offer is not None and tracing.enabled and tracing.ratio > 0
        if self.is_on:
            tracing.mesh.trace_id = self._trace_id
            tracing.mesh.config_span_id = self._config
            tracing.mesh.drain_span_id = self._drain
        return self._config

    def begin(self) -> None:
        """The proxy is ready: the span that all others belong to lasted until now."""
        about = {"sidecar.role": self._role, "sidecar.name": self._name}
        self._tell("mesh", {**about, "process.pid": os.getpid()}, self._root, (self.began, self.now()))

    def tell(
        self,
        name: str,
        attributes: Mapping[str, str | int],
        *,
        span_id: int = 0,
        began: int = 0,
        ended: int = 0,
        error: str = "",
    ) -> int:
        """Add a span and return its id. Times are in nanoseconds; without them it is a moment, and that is now."""
        span_id = span_id or new_id()
        ended = ended or self.now()
        self._tell(name, attributes, span_id, (began or ended, ended), error)
        return span_id

    def drained(self, began: int, *, was_cut_off: bool) -> None:
        """No request is left, or what was left has been cut off."""
        error = "requests were cut off at the end of the grace" if was_cut_off else ""
        self.tell("drain", {}, span_id=self._drain, began=began, error=error)

    def _tell(
        self, name: str, attributes: Mapping[str, str | int], span_id: int, times: tuple[int, int], error: str = ""
    ) -> None:
        if self._offer is None or not self.is_on:
            return
        began, ended = times
        span = otlp.Span(
            trace_id=self._trace_id,
            span_id=span_id.to_bytes(8),
            parent_span_id=b"" if span_id == self._root else self._root.to_bytes(8),
            name=name,
            kind=INTERNAL,
            start_time_unix_nano=began,
            end_time_unix_nano=ended,
            attributes=pairs(attributes),
            status=otlp.Status(code=ERROR, message=error[:MAX_VALUE]) if error else None,
            flags=FLAGS,
        )
        scope = otlp.ScopeSpans(scope=otlp.InstrumentationScope(name=SCOPE), spans=[span])
        spans = otlp.ResourceSpans(resource=otlp.Resource(attributes=pairs(self.resource)), scope_spans=[scope])
        self._offer(otlp.ExportTraceServiceRequest(resource_spans=[spans]).SerializeToString())


def pairs(attributes: Mapping[str, str | int] | Mapping[str, str]) -> list[otlp.KeyValue]:
    """Attributes, as OTLP has them."""
    return [otlp.KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def _value(value: str | int) -> otlp.AnyValue:
    return otlp.AnyValue(int_value=value) if isinstance(value, int) else otlp.AnyValue(string_value=value[:MAX_VALUE])
