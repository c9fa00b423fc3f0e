"""The address by which the mesh reaches us, as our registration says it."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address

from sidecar.consul.settings import Settings


async def advertised(wanted: str, listens_on: str, consul: Settings) -> str:
    """`wanted`, else the one address that we listen on, else ours towards a remote agent, else "": the agent's own.

    `listens_on` is "ip:port" of the inbound listener.
    """
    if wanted:
        return wanted
    host = listens_on.rpartition(":")[0].strip("[]")
    if host and not ip_address(host).is_unspecified:
        return host
    if consul.is_local:
        return ""
    return await asyncio.to_thread(_towards, consul.host, consul.port)


def _towards(host: str, port: int) -> str:
    """Our address on the way there; "" when there is no way. Nothing is sent."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return ""
