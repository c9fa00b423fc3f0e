"""How each proxy is started, with the same freedom for all: one worker, keep-alive to the backend, nothing recorded.

What recording costs is measured with `tracing_envoy`, LOGGING_ENVOY and LOGGING_HAPROXY.
"""

import json
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


# Where a proxy that logs to a file of its own does it; HAProxy knows standard output.
ACCESS_LOG = "access.log"

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


# What an access log tells of a request, as one JSON object: by our names, in the words of each peer. Ids are left out:
# ours makes them with or without a log, and theirs would be charged to it.
HAPROXY_LINE = {
    "time": '"%[date,utime(%Y-%m-%dT%H:%M:%S)].%ms"',
    "listener": '"%ft"',
    "method": '"%HM"',
    "authority": '"%[capture.req.hdr(0),json(utf8s)]"',
    "path": '"%[capture.req.uri,json(utf8s)]"',
    "protocol": '"%HV"',
    "status": "%ST",
    "reason": '"%tsc"',
    "cluster": '"%b"',
    "endpoint": '"%si:%sp"',
    "attempts": '"%rc"',
    "duration_ms": "%Ta",
    "bytes_received": "%U",
    "bytes_sent": "%B",
    "client": '"%ci:%cp"',
    "user_agent": '"%[capture.req.hdr(1),json(utf8s)]"',
}
ENVOY_LINE = {
    "time": "%START_TIME%",
    "listener": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "method": "%REQ(:METHOD)%",
    "authority": "%REQ(:AUTHORITY)%",
    "path": "%REQ(:PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS_NUMBER%",
    "reason": "%RESPONSE_CODE_DETAILS%",
    "route": "%ROUTE_NAME%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "endpoint": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "duration_ms": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "user_agent": "%REQ(USER-AGENT)%",
}


def _access_log_of_haproxy() -> str:
    """What its frontend says of it. Fields of a request are gone when its line is written, but for captured ones."""
    line = ",".join(f'"{name}":{value}' for name, value in HAPROXY_LINE.items())
    return f"""\
    log stdout len 4096 format raw local0
    http-request capture req.hdr(host) len 128
    http-request capture req.hdr(user-agent) len 128
    log-format '{{{line}}}'
"""


def _haproxy(folder: Path, port: int, backend: Backend, is_logging: bool = False) -> Launch:
    config = folder / "haproxy.cfg"
    in_frontend = _access_log_of_haproxy() if is_logging else ""
    # Without `proto` the frontend tells HTTP/1 and cleartext HTTP/2 apart by the preface, as ours does.
    config.write_text(f"""\
{HAPROXY_DEFAULTS}frontend bench
    bind 127.0.0.1:{port}
{in_frontend}    default_backend bench
backend bench
    http-reuse always
    server backend 127.0.0.1:{backend.port} {"proto h2" if backend.http2 else ""}
""")
    return Launch([find("haproxy") or "haproxy", "-db", "-f", str(config)])


@dataclass(frozen=True)
class EnvoyTracing:
    """Envoy's OTLP tracer of every request, to a collector at this loopback port."""

    port: int
    # A span of the call to the backend too, as ours.
    is_whole: bool
    # Spans that leave together.
    batch: int


def _tracing_of(tracing: EnvoyTracing) -> tuple[str, str, str]:
    """What its listener, its clusters and its runtime say of it."""
    in_listener = f"""
          tracing:
            spawn_upstream_span: {str(tracing.is_whole).lower()}
            random_sampling: {{value: 100}}
            provider:
              name: envoy.tracers.opentelemetry
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                service_name: bench
                http_service:
                  http_uri: {{uri: "http://127.0.0.1:{tracing.port}/v1/traces", cluster: collector, timeout: 10s}}"""
    in_clusters = f"""\
  - name: collector
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: collector
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {tracing.port}}}}}}}
"""
    in_runtime = f"""\
layered_runtime:
  layers: [{{name: bench, static_layer: {{tracing.opentelemetry.min_flush_spans: {tracing.batch}}}}}]
"""
    return in_listener, in_clusters, in_runtime


def _access_log_of_envoy(file: Path) -> str:
    """What its listener says of it."""
    return f"""
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {file}
              log_format: {{json_format: {json.dumps(ENVOY_LINE)}}}"""


def _envoy(
    folder: Path, port: int, backend: Backend, tracing: EnvoyTracing | None = None, is_logging: bool = False
) -> Launch:
    config = folder / "envoy.yaml"
    protocol = "http2_protocol_options" if backend.http2 else "http_protocol_options"
    in_listener, in_clusters, in_runtime = _tracing_of(tracing) if tracing else ("", "", "")
    if is_logging:
        in_listener += _access_log_of_envoy(folder / ACCESS_LOG)
    # Its default circuit breakers (1024) stay out of the way, and ids are for tracing, which peers do not have on.
    config.write_text(f"""\
{in_runtime}static_resources:
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
          generate_request_id: {str(tracing is not None).lower()}{in_listener}
          route_config:
            virtual_hosts:
            - name: bench
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: backend}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
{in_clusters}  - name: backend
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
LOGGING_HAPROXY = Proxy("haproxy-logging", lambda folder, port, backend: _haproxy(folder, port, backend, True))
LOGGING_ENVOY = Proxy("envoy-logging", lambda folder, port, backend: _envoy(folder, port, backend, None, True))


def tracing_envoy(name: str, tracing: EnvoyTracing) -> Proxy:
    """Envoy that exports a span of every request, or two."""
    return Proxy(name, lambda folder, port, backend: _envoy(folder, port, backend, tracing))


PEERS = (NGHTTPX, HAPROXY, ENVOY)
