"""A data plane that serves nothing: it keeps what it was told, and says what a test wants it to say."""

import threading
from collections import deque
from collections.abc import Callable

from sidecar.wire import control_pb2 as control
from sidecar.wire.snapshot_pb2 import Snapshot


class SeamDouble:
    """Stands in for the compiled DataPlane, byte for byte at its face."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.endpoints: list[control.EndpointsUpdate] = []
        self.secrets: list[control.Secrets] = []
        # Names of the calls that change something, in order.
        self.calls: list[str] = []
        # Called with each snapshot; may raise ValueError to refuse it.
        self.judge: Callable[[Snapshot], None] = lambda snapshot: None
        self.spans: deque[bytes] = deque()
        self.access_log: deque[bytes] = deque()
        self.reply = control.Reply()
        self.shut_down_with: float | None = None
        self.has_left = threading.Event()
        self._events: deque[control.Event] = deque()
        self._wake = threading.Condition()

    def tell(self, *events: control.Event) -> None:
        """Let the next poll answer with these."""
        with self._wake:
            self._events.extend(events)
            self._wake.notify_all()

    def apply(self, snapshot: bytes) -> int:
        message = Snapshot.FromString(snapshot)
        self.calls.append("apply")
        self.judge(message)
        self.snapshots.append(message)
        return message.version

    def apply_endpoints(self, update: bytes) -> int:
        message = control.EndpointsUpdate.FromString(update)
        self.calls.append("apply_endpoints")
        self.endpoints.append(message)
        return message.version

    def apply_secrets(self, secrets: bytes) -> int:
        message = control.Secrets.FromString(secrets)
        self.calls.append("apply_secrets")
        self.secrets.append(message)
        return message.version

    def poll_events(self, max_events: int, timeout: float) -> bytes:
        with self._wake:
            self._wake.wait_for(lambda: self._events or self.shut_down_with is not None, timeout)
            taken = [self._events.popleft() for _ in range(min(max_events, len(self._events)))]
        return control.Events(events=taken).SerializeToString()

    def drain_spans(self, max_spans: int) -> bytes:
        return self.spans.popleft() if self.spans else b""

    def drain_access_log(self, max_records: int) -> bytes:
        return self.access_log.popleft() if self.access_log else b""

    def metrics(self, form: str) -> bytes:
        return {
            "text": b"# TYPE up gauge\nup 1\n",
            "openmetrics": b"# TYPE up gauge\nup 1\n# EOF\n",
            "otlp": b"metrics",
        }[form]

    def query(self, request: bytes) -> bytes:
        if control.Query.FromString(request).WhichOneof("kind") == "listeners" and self.snapshots:
            bound = [
                control.ListenerBound(name=listener.name, address=listener.address.replace(":0", ":40000"))
                for listener in self.snapshots[-1].listeners
            ]
            return control.Reply(listeners=control.Listeners(listeners=bound)).SerializeToString()
        return self.reply.SerializeToString()

    def leave(self) -> None:
        self.has_left.set()

    def shutdown(self, grace: float) -> bool:
        with self._wake:
            self.shut_down_with = grace
            self._wake.notify_all()
        return True


def wanted(cluster: str) -> control.Event:
    """The event that requests wait for this cluster's endpoints."""
    return control.Event(cluster_wanted=control.ClusterWanted(cluster=cluster))
