"""The admin server: reads only, loopback only, and only for a Host that is loopback."""

import json
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from sidecar.admin import views
from sidecar.admin.certificates import Certificates
from sidecar.admin.metrics import Family, append
from sidecar.admin.status import Status
from sidecar.dataplane import DataPlane
from sidecar.errors import IdentityError, SidecarError

HOST = "127.0.0.1"
# The media types of Prometheus's two text forms.
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
# A scrape or a read in progress at the end of the process gets this many seconds.
CLOSE_WITHIN = 1.0
# Failures in one answer: the parameter's default and its bound.
FAILURES, MAX_FAILURES = 100, 1000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AdminServer:
    """Serves from `start` to `close`."""

    def __init__(
        self, dataplane: DataPlane, status: Status, families: Iterable[Family], certificates: Certificates
    ) -> None:
        self._dataplane = dataplane
        self._status = status
        self._families = tuple(families)
        self._certificates = certificates
        application = web.Application(middlewares=[_guard])
        for path, handler in (
            ("/live", self._live),
            ("/ready", self._ready),
            ("/metrics", self._metrics),
            ("/api/v1/config", self._config),
            ("/api/v1/clusters", self._clusters),
            ("/api/v1/listeners", self._listeners),
            ("/api/v1/failures", self._failures),
            ("/api/v1/certs", self._certs),
        ):
            application.router.add_get(path, handler)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=CLOSE_WITHIN)

    async def start(self, port: int) -> str:
        """Bind 127.0.0.1:`port` (0: a free one); returns the address. SidecarError when the port cannot be had."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, HOST, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise SidecarError(
                f"the admin server cannot listen on {HOST}:{port}: {error.strerror or error}; "
                "choose another port with --admin-port N, or 0 for a free one"
            ) from error
        host, bound = self._runner.addresses[0][:2]
        return f"{host}:{bound}"

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def _ready(self, _: web.Request) -> web.Response:
        return _json(views.ready(self._status), status=200 if self._status.state == "ready" else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        openmetrics = "application/openmetrics-text" in request.headers.get("Accept", "")
        dataplane = self._dataplane.metrics("openmetrics" if openmetrics else "text")
        return web.Response(
            body=append(dataplane, self._families, openmetrics=openmetrics),
            headers={"Content-Type": OPENMETRICS_TYPE if openmetrics else TEXT_TYPE},
        )

    async def _config(self, _: web.Request) -> web.Response:
        return _json(views.config(self._status))

    async def _clusters(self, _: web.Request) -> web.Response:
        return _json(views.clusters(self._dataplane.clusters()))

    async def _listeners(self, _: web.Request) -> web.Response:
        return _json(views.listeners(self._dataplane.listeners()))

    async def _certs(self, _: web.Request) -> web.Response:
        try:
            return _json(await self._certificates.view())
        except IdentityError as error:
            return _problem(503, str(error))

    async def _failures(self, request: web.Request) -> web.Response:
        text = request.query.get("limit", str(FAILURES))
        if not text.isdecimal() or not 1 <= int(text) <= MAX_FAILURES:
            return _problem(400, f"limit={text!r} is not a number from 1 to {MAX_FAILURES}")
        return _json(views.failures(self._dataplane.failures(int(text))))


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    # A web page can make a name of its own resolve to 127.0.0.1 and then read us (DNS rebinding); its Host tells.
    if not _is_loopback(request.headers.get("Host", "")):
        return _problem(403, "the Host header names no loopback address: ask for 127.0.0.1 or localhost")
    try:
        return await handler(request)
    except web.HTTPException as error:
        detail = f"{request.method} {request.path}: {error.reason}"
        return _problem(error.status, detail, {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {})


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _json(value: views.Json, status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(value, indent=2) + "\n", status=status, content_type="application/json")


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    """An RFC 9457 answer."""
    body: dict[str, Any] = {"status": status, "detail": detail}
    return web.Response(
        text=json.dumps(body, indent=2) + "\n",
        status=status,
        content_type="application/problem+json",
        headers=headers,
    )
