"""The seam: Python calls Rust, Rust never calls Python, and only bytes cross.

Every `bytes` is a protobuf message of `protos/sidecar/wire/`, named beside the method. All methods may be called from
any thread; they release the interpreter lock while they work. In a forked child each of them raises RuntimeError.
"""

from collections.abc import Mapping
from typing import final

__all__ = ["DataPlane", "SnapshotRejected"]

class SnapshotRejected(ValueError):
    """The bytes were refused and nothing changed; the message names the listener, route, cluster or identity."""

@final
class DataPlane:
    """The request path: its threads, listeners, pools and buffers."""

    def __new__(cls, options: bytes, listeners: Mapping[str, int]) -> DataPlane:
        """Start the worker threads. `options` is an Options; `listeners`: inherited listening descriptors by name."""

    def apply(self, snapshot: bytes) -> int:
        """Swap in a Snapshot, whole or not at all, and return its version; the old serves on after SnapshotRejected."""

    def apply_endpoints(self, update: bytes) -> int:
        """Replace one cluster's endpoints (EndpointsUpdate) unless older; returns the version now held."""

    def apply_secrets(self, secrets: bytes) -> int:
        """Replace all key material (Secrets); returns its version."""

    def poll_events(self, max_events: int, timeout: float) -> bytes:
        """Wait up to `timeout` seconds for events; returns an Events, maybe empty."""

    def drain_spans(self, max_spans: int) -> bytes:
        """Take finished spans as one OTLP ExportTraceServiceRequest; empty bytes when there are none.

        The spans of one exchange stay together: the last may bring more than `max_spans`.
        """

    def drain_access_log(self, max_records: int) -> bytes:
        """Take access-log lines, newline-delimited UTF-8 JSON."""

    def metrics(self, form: str) -> bytes:
        """All metrics as "text" (Prometheus 0.0.4), "openmetrics" (1.0.0) or "otlp" (ExportMetricsServiceRequest)."""

    def query(self, request: bytes) -> bytes:
        """Answer a Query with a Reply."""

    def leave(self) -> None:
        """Tell clients, and balancers that ask at a health path, to go elsewhere; serve whoever comes all the same."""

    def shutdown(self, grace: float) -> bool:
        """Stop accepting, let exchanges end for up to `grace` seconds, stop the threads.

        True: none was cut off. A second call returns at once.
        """
