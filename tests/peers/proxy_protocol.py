"""Headers of the PROXY protocol, as a balancer sends them."""

import socket
import struct
from ipaddress import ip_address

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21


def v1(client: str, server: str = "198.51.100.7") -> bytes:
    """A line of text for a client at this address."""
    return f"PROXY TCP{ip_address(client).version} {client} {server} 49153 443\r\n".encode()


def v2(client: str, server: str = "198.51.100.7", tlvs: bytes = b"", command: int = PROXY) -> bytes:
    """Sixteen bytes, addresses, and these TLVs."""
    is_v4 = ip_address(client).version == 4
    family = socket.AF_INET if is_v4 else socket.AF_INET6
    rest = socket.inet_pton(family, client) + socket.inet_pton(family, server) + struct.pack("!HH", 49153, 443) + tlvs
    return SIGNATURE + struct.pack("!BBH", command, 0x11 if is_v4 else 0x21, len(rest)) + rest
