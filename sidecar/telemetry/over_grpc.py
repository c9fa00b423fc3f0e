"""OTLP over gRPC; only who asks for it loads this, and grpcio with it."""

from pathlib import Path
from urllib.parse import urlsplit

import grpc
import grpc.aio

from sidecar.telemetry.attempt import Again, ExportError
from sidecar.telemetry.otlp import Target, Tls
from sidecar.telemetry.peek import retry_delay

METHODS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}
# OTLP specification, "OTLP/gRPC Response": these may be tried again, and RESOURCE_EXHAUSTED where it says when.
RETRYABLE = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
OPTIONS = (
    ("grpc.primary_user_agent", "sidecar"),
    # What is said of the application's way out is not said of ours; over HTTP neither is heeded.
    ("grpc.enable_http_proxy", 0),
)


class GrpcWire:
    """Calls one method of one receiver, over one channel."""

    def __init__(self, target: Target) -> None:
        self._target = target
        url = urlsplit(target.url)
        self._address = url.netloc.rpartition("@")[2]
        self._is_tls = url.scheme == "https"
        self.place = f"{url.scheme}://{self._address} (gRPC)"
        # gRPC takes names of metadata in lower case alone.
        self._metadata = tuple((name.lower(), value) for name, value in target.headers.items())
        self._channel: grpc.aio.Channel | None = None

    async def attempt(self, request: bytes, within: float) -> bytes | Again:
        """Send once."""
        if self._channel is None:
            self._channel = self._open()
        # Without serializers bytes pass as they are.
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(METHODS[self._target.signal])
        try:
            return await call(request, timeout=min(self._target.timeout, within), metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            why = f"{error.code().name}: {error.details()}"
            after = _asked(error)
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                # The next one reads certificate files again, and waits for nothing that this one had begun.
                await self._close()
            if error.code() in RETRYABLE or (error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and after is not None):
                return Again(why, after)
            raise ExportError(why) from None

    async def _close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _open(self) -> grpc.aio.Channel:
        compression = grpc.Compression.Gzip if self._target.gzip else grpc.Compression.NoCompression
        if not self._is_tls:
            return grpc.aio.insecure_channel(self._address, OPTIONS, compression)
        return grpc.aio.secure_channel(self._address, _credentials(self._target.tls), OPTIONS, compression)


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    def read(file: str) -> bytes | None:
        return Path(file).read_bytes() if file else None

    try:
        return grpc.ssl_channel_credentials(read(tls.certificate), read(tls.client_key), read(tls.client_certificate))
    except OSError as error:
        raise ExportError(f"{error.filename}: {error.strerror}") from None


def _asked(error: grpc.aio.AioRpcError) -> float | None:
    """The wait in the details of the status, if there is one."""
    for name, value in error.trailing_metadata():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            return retry_delay(value)
    return None
