"""The seam's face: the data plane with protobuf messages instead of bytes.

`Seam` is what the compiled module offers, in bytes; `DataPlane` wraps it. The two calls that wait (`poll_events`,
`shutdown`) run on threads of their own, everything else answers within milliseconds and is called directly.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Protocol

from sidecar.errors import SeamError
from sidecar.wire import control_pb2 as control
from sidecar.wire import snapshot_pb2 as snapshot

MetricsForm = Literal["text", "openmetrics", "otlp"]


class Seam(Protocol):
    """The compiled module's DataPlane, see `_dataplane.pyi`."""

    def apply(self, snapshot: bytes) -> int: ...
    def apply_endpoints(self, update: bytes) -> int: ...
    def apply_secrets(self, secrets: bytes) -> int: ...
    def poll_events(self, max_events: int, timeout: float) -> bytes: ...
    def drain_spans(self, max_spans: int) -> bytes: ...
    def drain_access_log(self, max_records: int) -> bytes: ...
    def metrics(self, form: str) -> bytes: ...
    def query(self, request: bytes) -> bytes: ...
    def leave(self) -> None: ...
    def shutdown(self, grace: float) -> bool: ...


class DataPlane:
    """The request path, typed.

    Every `apply*` raises SeamError when the data plane refuses the message; nothing changed then.
    """

    def __init__(self, seam: Seam) -> None:
        self._seam = seam
        # Two threads: an event poll that waits must not hold up a shutdown. The default pool would grow with the cores.
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="dataplane-call")

    def apply(self, message: snapshot.Snapshot, rest: bytes = b"") -> int:
        """Swap in a snapshot, whole or not at all; returns its version. `rest` is more of its fields, serialized."""
        return _checked(self._seam.apply, message.SerializeToString() + rest)

    def apply_endpoints(self, message: control.EndpointsUpdate) -> int:
        """Replace one cluster's endpoints; returns the version now held, which may be a newer one."""
        return _checked(self._seam.apply_endpoints, message.SerializeToString())

    def apply_secrets(self, message: control.Secrets) -> int:
        """Replace all key material; returns its version."""
        return _checked(self._seam.apply_secrets, message.SerializeToString())

    async def poll_events(self, max_events: int, within: float) -> control.Events:
        """Wait up to `within` seconds for events; maybe none. Cancelling it leaves the thread waiting that long."""
        loop = asyncio.get_running_loop()
        reply = await loop.run_in_executor(self._threads, self._seam.poll_events, max_events, within)
        return control.Events.FromString(reply)

    def drain_spans(self, max_spans: int) -> bytes:
        """Take finished spans, all of the last exchange, as an ExportTraceServiceRequest; empty: there are none."""
        return self._seam.drain_spans(max_spans)

    def drain_access_log(self, max_records: int) -> bytes:
        """Take access-log lines: newline-delimited JSON, empty when there are none."""
        return self._seam.drain_access_log(max_records)

    def metrics(self, form: MetricsForm) -> bytes:
        """All metrics: Prometheus text, OpenMetrics text or an OTLP ExportMetricsServiceRequest."""
        return self._seam.metrics(form)

    def stats(self) -> control.Stats:
        """Counters of the whole data plane."""
        return self._query(control.Query(stats=control.StatsQuery())).stats

    def listeners(self) -> control.Listeners:
        """The listeners that are bound, with their real ports."""
        return self._query(control.Query(listeners=control.ListenersQuery())).listeners

    def clusters(self) -> control.Clusters:
        """Every cluster with its endpoints and their counters."""
        return self._query(control.Query(clusters=control.ClustersQuery())).clusters

    def used(self) -> frozenset[str]:
        """The clusters to which requests were sent since this was last asked."""
        return frozenset(self._query(control.Query(used=control.UsedQuery())).used.clusters)

    def failures(self, limit: int = 0) -> control.Exchanges:
        """Exchanges that failed, newest first; 0 = all that are kept."""
        return self._query(control.Query(failures=control.FailuresQuery(limit=limit))).exchanges

    def slowest(self, limit: int = 0) -> control.Exchanges:
        """The others that took longest of late, the slowest first; 0 = all that are kept."""
        return self._query(control.Query(slowest=control.SlowestQuery(limit=limit))).exchanges

    def exchange(self, name: str) -> control.Exchanges:
        """What is kept of a request id or trace id, oldest first."""
        return self._query(control.Query(exchange=control.ExchangeQuery(id=name))).exchanges

    def explain(self, query: control.ExplainQuery) -> control.Explanation:
        """What would become of a request. Raises SeamError when it is none, or the listener is not there."""
        try:
            return self._query(control.Query(explain=query)).explanation
        except ValueError as error:
            raise SeamError(str(error)) from error

    def leave(self) -> None:
        """Tell clients, and balancers that ask at a health path, to go elsewhere; serve whoever comes all the same."""
        self._seam.leave()

    async def shutdown(self, grace: float) -> bool:
        """Stop accepting, let exchanges end for up to `grace` seconds, stop. True: none was cut off."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._seam.shutdown, grace)

    def _query(self, query: control.Query) -> control.Reply:
        return control.Reply.FromString(self._seam.query(query.SerializeToString()))


def start(options: control.Options, listeners: Mapping[str, int] | None = None) -> DataPlane:
    """Start the worker threads of a new data plane.

    `listeners` are inherited listening descriptors by listener name. Raises SeamError when the compiled module is
    missing or refuses the options.
    """
    try:
        from sidecar import _dataplane
    except ImportError as error:
        raise SeamError(
            f"the compiled data plane cannot be loaded ({error}): install the sidecar-mesh wheel, "
            "or build it in a source tree with `maturin develop`"
        ) from error
    try:
        return DataPlane(_dataplane.DataPlane(options.SerializeToString(), listeners or {}))
    except ValueError as error:
        raise SeamError(f"the data plane did not start: {error}") from error


def _checked(apply: Callable[[bytes], int], message: bytes) -> int:
    try:
        return apply(message)
    # SnapshotRejected is a ValueError; a RuntimeError says that the data plane has been shut down.
    except (ValueError, RuntimeError) as error:
        raise SeamError(str(error)) from error
