"""py-consul's HTTP seam on one aiohttp session: TLS, unix sockets, bounded connections and answers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import aiohttp
from yarl import URL

from sidecar.consul.settings import Settings

# The package of py-consul imports its blocking client, and with it `requests`: 7 MiB that nothing here uses.
_blocking = ModuleType("consul.std")
_blocking.Consul = None  # type: ignore[attr-defined]
sys.modules.setdefault("consul.std", _blocking)

from consul.base import Consul, HTTPClient, Response  # noqa: E402 - after the stand-in

# Bytes. The longest answers are a list of all keys: ten thousand documents of 4 KiB are 55 MB in base64.
LARGEST_ANSWER = 64 * 1024 * 1024
# Seconds to open a connection; an agent stands on the same host.
CONNECT_WITHIN = 5.0

Params = list[tuple[str, str | int]]
Callback = Callable[[Response], Any]


class AnswerTooLarge(Exception):
    """An answer longer than LARGEST_ANSWER."""


class Transport(HTTPClient):  # type: ignore[misc]
    """The calls of py-consul's HTTPClient; each returns an awaitable of what `callback` makes of the Response.

    A body is bytes. What aiohttp raises (ClientError, TimeoutError) comes out as it is.
    """

    def __init__(self, settings: Settings, connections: int) -> None:
        super().__init__(host=_in_url(settings.host), port=settings.port, scheme=settings.scheme)
        self.base_uri += settings.prefix
        self._settings = settings
        self._connections = connections
        self._tls = settings.tls()
        self._session: aiohttp.ClientSession | None = None

    async def get(self, callback: Callback, path: str, params: Params | None = None, **options: Any) -> Any:
        return await self._send("GET", callback, path, params, **options)

    async def put(self, callback: Callback, path: str, params: Params | None = None, **options: Any) -> Any:
        return await self._send("PUT", callback, path, params, **options)

    async def post(self, callback: Callback, path: str, params: Params | None = None, **options: Any) -> Any:
        return await self._send("POST", callback, path, params, **options)

    async def delete(self, callback: Callback, path: str, params: Params | None = None, **options: Any) -> Any:
        return await self._send("DELETE", callback, path, params, **options)

    async def close(self) -> None:
        """End every connection."""
        if self._session is not None:
            await self._session.close()

    async def _send(
        self,
        method: str,
        callback: Callback,
        path: str,
        params: Params | None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        connections_timeout: float | None = None,
    ) -> Any:
        """`connections_timeout`: seconds for the whole call."""
        if self._session is None:
            # Here, because a session belongs to the loop that runs.
            self._session = aiohttp.ClientSession(connector=self._connector(), headers=self._encodings())
        async with self._session.request(
            method,
            URL(self.uri(path, params), encoded=True),
            data=data,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=connections_timeout, sock_connect=CONNECT_WITHIN),
            server_hostname=self._settings.server_name or None,
            allow_redirects=False,
        ) as reply:
            return callback(Response(reply.status, reply.headers, await _read(reply)))

    def _encodings(self) -> dict[str, str] | None:
        # Where nothing is saved on a wire, compressing takes an agent longer than all that is done with its answer.
        return {"Accept-Encoding": "identity"} if self._settings.is_local else None

    def _connector(self) -> aiohttp.BaseConnector:
        if self._settings.socket:
            return aiohttp.UnixConnector(self._settings.socket, limit=self._connections)
        return aiohttp.TCPConnector(limit=self._connections, ssl=self._tls or True)


class Seam(Consul):  # type: ignore[misc]
    """py-consul's Consul on our Transport: `seam.http.get(callback, path, …)`. The token is given with each call."""

    def __init__(self, settings: Settings, connections: int) -> None:
        self._settings, self._connections = settings, connections
        # All given, so that py-consul reads no variable: it knows few of them, and lets them win over what is explicit.
        super().__init__(settings.host, settings.port, scheme=settings.scheme, verify=settings.verify)
        self.token = None

    def http_connect(self, *_: object, **__: object) -> Transport:
        """Called by py-consul's constructor."""
        return Transport(self._settings, self._connections)


async def _read(reply: aiohttp.ClientResponse) -> bytes:
    chunks, size = [], 0
    async for chunk in reply.content.iter_any():
        size += len(chunk)
        if size > LARGEST_ANSWER:
            raise AnswerTooLarge
        chunks.append(chunk)
    return b"".join(chunks)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
