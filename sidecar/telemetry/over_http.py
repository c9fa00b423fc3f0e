"""OTLP over HTTP."""

import gzip
import os
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp

from sidecar import roots
from sidecar.telemetry.attempt import Again, ExportError
from sidecar.telemetry.otlp import Target, Tls

# OTLP specification, "OTLP/HTTP Response": these alone may be tried again.
RETRYABLE = frozenset({429, 502, 503, 504})
# The specification limits what a client reads of a reply to 4 MiB; ours hold a counter and one sentence.
MAX_REPLY = 64 * 1024


class HttpWire:
    """POSTs to one URL."""

    def __init__(self, session: aiohttp.ClientSession, target: Target) -> None:
        self._session = session
        self._target = target
        url = urlsplit(target.url)
        self.place = f"{url.scheme}://{url.hostname}{f':{url.port}' if url.port else ''}{url.path}"
        self._headers = {"User-Agent": "sidecar", **target.headers, "Content-Type": "application/x-protobuf"}
        if target.gzip:
            self._headers["Content-Encoding"] = "gzip"
        self._context = _Context(target.tls) if url.scheme == "https" else None

    async def attempt(self, request: bytes, within: float) -> bytes | Again:
        """Send once."""
        within = min(self._target.timeout, within)
        # Level 1: three quarters of the saving for a third of the time on span batches.
        body = gzip.compress(request, compresslevel=1) if self._target.gzip else request
        try:
            async with self._session.post(
                self._target.url,
                data=body,
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=within),
                allow_redirects=False,
                ssl=self._context.now() if self._context else True,
            ) as response:
                if response.status in RETRYABLE:
                    return Again(f"HTTP {response.status}", _seconds(response.headers.get("Retry-After", "")))
                if not 200 <= response.status < 300:
                    raise ExportError(f"HTTP {response.status}")
                return await _reply(response)
        except TimeoutError:
            return Again(f"no answer in {within:.3g} s")
        except aiohttp.ClientError as error:
            return Again(str(error) or type(error).__name__)


async def _reply(response: aiohttp.ClientResponse) -> bytes:
    """The body. The status says that the request has arrived: to send it again would double what is in it."""
    reply = b""
    try:
        while len(reply) < MAX_REPLY and (part := await response.content.read(MAX_REPLY - len(reply))):
            reply += part
    except (aiohttp.ClientError, TimeoutError):
        return b""
    return reply


def _seconds(retry_after: str) -> float | None:
    """Of a Retry-After field: a number, or a date; None when it is neither."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (date - datetime.now(UTC)).total_seconds()) if date.tzinfo else None


class _Context:
    """How TLS is spoken; files that are replaced are read again."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._made_of: object = None
        self._context: ssl.SSLContext | None = None

    def now(self) -> ssl.SSLContext:
        """Raises ExportError when the files cannot be used."""
        files = [file for file in (self._tls.certificate, self._tls.client_certificate, self._tls.client_key) if file]
        if not files:
            return roots.context()
        try:
            made_of = [os.stat(file).st_mtime_ns for file in files]  # noqa: PTH116 - the path is a text
            if self._context is None or made_of != self._made_of:
                self._context, self._made_of = self._make(), made_of
        except OSError as error:
            # ssl.SSLError is one, too.
            raise ExportError(f"{', '.join(files)}: {error.strerror or error}") from None
        return self._context

    def _make(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._tls.certificate or None)
        if self._tls.client_certificate:
            context.load_cert_chain(self._tls.client_certificate, self._tls.client_key)
        return context
