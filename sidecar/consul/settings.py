"""Where Consul is and how to speak to it: the variables of Consul's own command, with the same meaning."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from sidecar.errors import ConsulError

DEFAULT_ADDRESS = "127.0.0.1:8500"
_TRUE = {"1", "t", "true"}
_FALSE = {"0", "f", "false"}
_EXPECTED_ADDRESS = "127.0.0.1:8500, https://consul.example.com or unix:///run/consul.sock"


@dataclass(frozen=True)
class Settings:
    """One way to reach one agent. An empty text means that the part is not given."""

    # As the person wrote it; errors name it.
    address: str = DEFAULT_ADDRESS
    scheme: str = "http"
    host: str = "127.0.0.1"
    port: int = 8500
    # Path of a unix socket; host and port are not used then.
    socket: str = ""
    # "/consul" where the API stands below a path.
    prefix: str = ""
    token: str = field(default="", repr=False)
    # Read again when it changes; goes before `token`.
    token_file: str = ""
    verify: bool = True
    ca_file: str = ""
    ca_path: str = ""
    client_certificate: str = ""
    client_key: str = ""
    server_name: str = ""
    # Enterprise; passed on as they are.
    namespace: str = ""
    partition: str = ""

    @property
    def is_local(self) -> bool:
        """Whether the agent runs on our host, as far as its address tells."""
        if self.socket:
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def current_token(self) -> str:
        """The token of the next request. Raises ConsulError when its file cannot be read."""
        if not self.token_file:
            return self.token
        try:
            return Path(self.token_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConsulError(
                f"the token file {self.token_file} (CONSUL_HTTP_TOKEN_FILE) cannot be read: {reason}"
            ) from None

    def tls(self) -> ssl.SSLContext | None:
        """What https needs; None for http. Raises ConsulError naming the file at fault."""
        if self.scheme != "https":
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None, capath=self.ca_path or None)
        except (OSError, ssl.SSLError) as error:
            given = f"{self.ca_file or self.ca_path} (CONSUL_CACERT, CONSUL_CAPATH)"
            raise ConsulError(f"{given} holds no certificates that can be used: {error}") from None
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_certificate:
            try:
                context.load_cert_chain(self.client_certificate, self.client_key or None)
            except (OSError, ssl.SSLError) as error:
                given = f"{self.client_certificate} and {self.client_key or 'its key'}"
                raise ConsulError(
                    f"{given} (CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY) cannot be used as client certificate: {error}"
                ) from None
        return context


def read(environ: Mapping[str, str], *, address: str = "", token: str = "", token_file: str = "") -> Settings:
    """The environment's settings; what is given explicitly goes first. Raises ConsulError naming the variable."""
    written = address or environ.get("CONSUL_HTTP_ADDR", "") or DEFAULT_ADDRESS
    scheme, host, port, socket, prefix = _split(written, "--consul-addr" if address else "CONSUL_HTTP_ADDR")
    # TLS that was asked for is never given up for an address that says http://, as in Consul's own client.
    if _flag(environ, "CONSUL_HTTP_SSL", default=False):
        scheme = "https"
    if not port:
        port = 443 if scheme == "https" else 80
    if not token and not token_file:
        token_file = environ.get("CONSUL_HTTP_TOKEN_FILE", "")
        token = environ.get("CONSUL_HTTP_TOKEN", "")
    return Settings(
        address=written,
        scheme=scheme,
        host=host,
        port=port,
        socket=socket,
        prefix=prefix,
        token=token,
        token_file=token_file,
        verify=_flag(environ, "CONSUL_HTTP_SSL_VERIFY", default=True),
        ca_file=environ.get("CONSUL_CACERT", ""),
        ca_path=environ.get("CONSUL_CAPATH", ""),
        client_certificate=environ.get("CONSUL_CLIENT_CERT", ""),
        client_key=environ.get("CONSUL_CLIENT_KEY", ""),
        server_name=environ.get("CONSUL_TLS_SERVER_NAME", ""),
        namespace=environ.get("CONSUL_NAMESPACE", ""),
        partition=environ.get("CONSUL_PARTITION", ""),
    )


def _split(written: str, given: str) -> tuple[str, str, int, str, str]:
    """Scheme, host, port (0: the scheme's own, as in Consul's client), socket, prefix."""
    scheme, separator, rest = written.partition("://")
    if not separator:
        scheme, rest = "http", written
    if scheme == "unix":
        if not rest.startswith("/"):
            raise _bad_address(written, given, "a unix socket has an absolute path")
        return "http", "localhost", 0, rest, ""
    if scheme not in ("http", "https"):
        raise _bad_address(written, given, f"`{scheme}` is not a scheme of Consul's API")
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _bad_address(written, given, str(error)) from None
    if not host or parts.query or parts.fragment or parts.username is not None:
        raise _bad_address(written, given, "it is not a host with a port")
    return scheme, host, port or 0, "", parts.path.rstrip("/")


def _bad_address(written: str, given: str, reason: str) -> ConsulError:
    # What stands before an @ may be a password.
    shown = written.rpartition("@")[2]
    return ConsulError(f"{given} is {shown!r}: {reason}; expected an address such as {_EXPECTED_ADDRESS}")


def _flag(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = environ.get(name, "")
    if not value:
        return default
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise ConsulError(f"{name} is {value!r}: expected true or false")
