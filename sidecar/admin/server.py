"""The admin server: reads only, loopback only, and only for a Host that is loopback."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

# Not `aiohttp.web`, whose applications, files and sockets would be loaded with it: 12 ms of a start, and 1 MiB.
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response
from aiohttp.web_server import Server

from sidecar.admin import views
from sidecar.admin.certificates import Certificates
from sidecar.admin.status import Status
from sidecar.dataplane import DataPlane
from sidecar.errors import IdentityError, SidecarError
from sidecar.explanation import Asked
from sidecar.telemetry.families import Family, append

HOST = "127.0.0.1"
# The media types of Prometheus's two text forms.
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
METHODS = ("GET", "HEAD")
# A scrape or a read in progress at the end of the process gets this many seconds.
CLOSE_WITHIN = 1.0
# Exchanges in one answer: the parameter's default and its bound.
EXCHANGES, MAX_EXCHANGES = 100, 1000

Handler = Callable[[BaseRequest], Awaitable[Response]]


class AdminServer:
    """Serves from `start` to `close`."""

    def __init__(
        self,
        dataplane: DataPlane,
        status: Status,
        families: Iterable[Family],
        certificates: Certificates,
        explained: Callable[[Asked], views.Json],
    ) -> None:
        """`explained` raises SidecarError when what is asked is no request."""
        self._dataplane = dataplane
        self._status = status
        self._families = tuple(families)
        self._certificates = certificates
        self._explained = explained
        self._handlers: Mapping[str, Handler] = {
            "/live": self._live,
            "/ready": self._ready,
            "/metrics": self._metrics,
            "/api/v1/config": self._config,
            "/api/v1/clusters": self._clusters,
            "/api/v1/listeners": self._listeners,
            "/api/v1/failures": self._failures,
            "/api/v1/slowest": self._slowest,
            "/api/v1/exchanges": self._exchanges,
            "/api/v1/explain": self._explain,
            "/api/v1/certs": self._certs,
        }
        self._server = Server(self._handle, access_log=None)
        self._listening: asyncio.Server | None = None

    async def start(self, port: int) -> str:
        """Bind 127.0.0.1:`port` (0: a free one); returns the address. SidecarError when the port cannot be had."""
        try:
            self._listening = await asyncio.get_running_loop().create_server(self._server, HOST, port)
        except OSError as error:
            raise SidecarError(
                f"the admin server cannot listen on {HOST}:{port}: {error.strerror or error}; "
                "choose another port with --admin-port N, or 0 for a free one"
            ) from error
        host, bound = self._listening.sockets[0].getsockname()
        return f"{host}:{bound}"

    async def close(self) -> None:
        """Stop listening, and let what is being answered end."""
        if self._listening is not None:
            self._listening.close()
        # What has arrived is begun before idle connections are closed.
        await asyncio.sleep(0)
        self._server.pre_shutdown()
        await self._server.shutdown(CLOSE_WITHIN)

    async def _handle(self, request: BaseRequest) -> Response:
        # A web page can make a name of its own resolve to 127.0.0.1 and then read us (DNS rebinding); its Host tells.
        if not _is_loopback(request.headers.get("Host", "")):
            return _problem(403, "the Host header names no loopback address: ask for 127.0.0.1 or localhost")
        handler = self._handlers.get(request.path)
        if handler is None:
            return _refused(request, HTTPStatus.NOT_FOUND)
        if request.method not in METHODS:
            return _refused(request, HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": ",".join(METHODS)})
        try:
            return await handler(request)
        except SidecarError as error:
            return _problem(400, str(error))

    async def _live(self, _: BaseRequest) -> Response:
        return Response(text="live\n")

    async def _ready(self, _: BaseRequest) -> Response:
        return _json(views.ready(self._status), status=200 if self._status.state == "ready" else 503)

    async def _metrics(self, request: BaseRequest) -> Response:
        openmetrics = "application/openmetrics-text" in request.headers.get("Accept", "")
        dataplane = self._dataplane.metrics("openmetrics" if openmetrics else "text")
        return Response(
            body=append(dataplane, self._families, openmetrics=openmetrics),
            headers={"Content-Type": OPENMETRICS_TYPE if openmetrics else TEXT_TYPE},
        )

    async def _config(self, _: BaseRequest) -> Response:
        return _json(views.config(self._status))

    async def _clusters(self, _: BaseRequest) -> Response:
        return _json(views.clusters(self._dataplane.clusters()))

    async def _listeners(self, _: BaseRequest) -> Response:
        return _json(views.listeners(self._dataplane.listeners()))

    async def _certs(self, _: BaseRequest) -> Response:
        try:
            return _json(await self._certificates.view())
        except IdentityError as error:
            return _problem(503, str(error))

    async def _failures(self, request: BaseRequest) -> Response:
        return _json(views.exchanges("failures", self._dataplane.failures(_limit(request))))

    async def _slowest(self, request: BaseRequest) -> Response:
        return _json(views.exchanges("slowest", self._dataplane.slowest(_limit(request))))

    async def _exchanges(self, request: BaseRequest) -> Response:
        if not (name := request.query.get("id", "")):
            raise SidecarError("id=REQUEST-ID or id=TRACE-ID tells which exchanges are asked for")
        return _json(views.exchanges("exchanges", self._dataplane.exchange(name)))

    async def _explain(self, request: BaseRequest) -> Response:
        return _json(self._explained(Asked.of_query(request.query.items())))


def _refused(request: BaseRequest, status: HTTPStatus, headers: dict[str, str] | None = None) -> Response:
    return _problem(status, f"{request.method} {request.path}: {status.phrase}", headers)


def _limit(request: BaseRequest) -> int:
    text = request.query.get("limit", str(EXCHANGES))
    if not text.isdecimal() or not 1 <= int(text) <= MAX_EXCHANGES:
        raise SidecarError(f"limit={text!r} is not a number from 1 to {MAX_EXCHANGES}")
    return int(text)


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _json(value: views.Json, status: int = 200) -> Response:
    return Response(text=json.dumps(value, indent=2) + "\n", status=status, content_type="application/json")


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """An RFC 9457 answer."""
    body: dict[str, Any] = {"status": status, "detail": detail}
    return Response(
        text=json.dumps(body, indent=2) + "\n",
        status=status,
        content_type="application/problem+json",
        headers=headers,
    )
