"""How each proxy is started, with the same freedom for all: one worker, no access log, keep-alive to the backend."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.backends import Backend
from benchmarks.prerequisites import envoy, find


@dataclass(frozen=True)
class Launch:
    """A command, and what its environment has beyond ours."""

    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Proxy:
    """A proxy by name. `launch(folder, port, backend)` writes its configuration into the folder."""

    name: str
    launch: Callable[[Path, int, Backend], Launch]


# One worker, and times that no case reaches.
HAPROXY_DEFAULTS = """\
global
    nbthread 1
    maxconn 8000
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 300s
"""


def _nghttpx(folder: Path, port: int, backend: Backend) -> Launch:
    protocol = "h2" if backend.http2 else "http/1.1"
    return Launch([
        find("nghttpx") or "nghttpx",
        # Debian's own configuration must not take part.
        "--conf=/dev/null",
        f"--frontend=127.0.0.1,{port};no-tls",
        f"--backend=127.0.0.1,{backend.port};;proto={protocol}",
        "--workers=1",
        f"--pid-file={folder}/nghttpx.pid",
    ])  # fmt: skip


def _haproxy(folder: Path, port: int, backend: Backend) -> Launch:
    config = folder / "haproxy.cfg"
    # Without `proto` the frontend tells HTTP/1 and cleartext HTTP/2 apart by the preface, as ours does.
    config.write_text(f"""\
{HAPROXY_DEFAULTS}frontend bench
    bind 127.0.0.1:{port}
    default_backend bench
backend bench
    http-reuse always
    server backend 127.0.0.1:{backend.port} {"proto h2" if backend.http2 else ""}
""")
    return Launch([find("haproxy") or "haproxy", "-db", "-f", str(config)])


def _envoy(folder: Path, port: int, backend: Backend) -> Launch:
    config = folder / "envoy.yaml"
    protocol = "http2_protocol_options" if backend.http2 else "http_protocol_options"
    # Its default circuit breakers (1024) stay out of the way, and ids are for tracing, which peers do not have on.
    config.write_text(f"""\
static_resources:
  listeners:
  - name: bench
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          codec_type: AUTO
          generate_request_id: false
          route_config:
            virtual_hosts:
            - name: bench
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: backend}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: backend
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds: [{{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{{protocol}: {{}}}}
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {backend.port}}}}}}}
""")
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return Launch([str(envoy()), "--config-path", str(config), *options])


NGHTTPX = Proxy("nghttpx", _nghttpx)
HAPROXY = Proxy("haproxy", _haproxy)
ENVOY = Proxy("envoy", _envoy)
PEERS = (NGHTTPX, HAPROXY, ENVOY)
