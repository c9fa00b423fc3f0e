"""Mutual TLS: what a call between two proxies costs, and what a handshake costs.

    python -m benchmarks.mtls                 # five rounds; needs a quiet machine of two cores
    python -m benchmarks.mtls --rounds 1 --scale 0.1 --seconds 1

Two proxies of one kind stand one behind the other, as sidecars do: `out` takes cleartext HTTP/2 and calls `in` by
mutual TLS, `in` calls the backend in cleartext. Both verify the chain, but for nghttpx, which verifies host names or
nothing; Envoy and ours verify the SPIFFE id too. For handshakes a client (openssl s_time) with a certificate of its own
opens connections to `in`, each with a full handshake, and closes them.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from benchmarks.backends import Backend, BackendKind, backends
from benchmarks.cases import GRPC
from benchmarks.load import run
from benchmarks.peers import HAPROXY_DEFAULTS
from benchmarks.prerequisites import envoy, find
from benchmarks.process import (
    LOAD_CORE,
    PROXY_CORE,
    BenchError,
    cpu_nanoseconds,
    free_port,
    listening,
    spawned,
    wait_until,
)
from sidecar.identity.local_ca import LocalAuthority
from sidecar.identity.spiffe import ServiceId

DOMAIN = "mesh.local"
NAMES = ("web", "orders", "client")


@dataclass(frozen=True)
class Pair:
    """The two proxies of one kind: their commands, and the ports of `out` (cleartext) and `in` (TLS)."""

    out_command: Sequence[str]
    in_command: Sequence[str]
    out_port: int
    in_port: int


@dataclass
class Sample:
    """Of one kind, a value a round: µs of CPU of each proxy per call, of `in` per handshake, handshakes per second."""

    out_us: list[float] = field(default_factory=list)
    in_us: list[float] = field(default_factory=list)
    handshake_us: list[float] = field(default_factory=list)
    handshakes: list[float] = field(default_factory=list)


def identities(folder: Path) -> Path:
    """One root, and NAME.pem, NAME.key and NAME.both.pem for each of NAMES: leaves of the local CA, all alike."""
    state = folder / "state"
    authority = LocalAuthority(state, DOMAIN)
    for name in NAMES:
        leaf = authority.issue(ServiceId(DOMAIN, name))
        certificate = x509.load_der_x509_certificate(leaf.certificate_chain[0]).public_bytes(Encoding.PEM)
        key = load_der_private_key(leaf.private_key, password=None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        (folder / f"{name}.pem").write_bytes(certificate)
        for file, content in ((f"{name}.key", key), (f"{name}.both.pem", certificate + key)):
            (folder / file).touch(mode=0o600)
            (folder / file).write_bytes(content)
    root = folder / "root.pem"
    root.write_bytes((state / "ca" / "cert.pem").read_bytes())
    return root


# --- the pairs --------------------------------------------------------------------------------------------------------


def _ours(folder: Path, backend: Backend) -> Pair:
    out_port, in_port, config = free_port(), free_port(), folder / "config"
    for name, text in (
        ("mesh", "access_log: {enabled: false}\ntracing: {ratio: 1%}\n"),
        ("services/orders", f'protocol: grpc\nendpoints: [{{address: "127.0.0.1:{in_port}"}}]\n'),
        ("services/web", f"upstreams: [{{service: orders, port: {out_port}}}]\n"),
    ):
        path = config / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    common = [sys.executable, "-m", "sidecar", "run", "--config", str(config), "--state-dir", str(folder / "state")]
    common += ["--admin-port", "0", "--outbound-port", "0", "--log-level", "warning"]
    return Pair(
        [*common, "--service", "web", "--port", "1", "--inbound-port", "0"],
        [*common, "--service", "orders", "--port", str(backend.port), "--inbound-port", str(in_port)],
        out_port,
        in_port,
    )


def _nghttpx(folder: Path, backend: Backend) -> Pair:
    out_port, in_port, root = free_port(), free_port(), folder / "root.pem"
    common = [find("nghttpx") or "nghttpx", "--conf=/dev/null", "--workers=1", f"--cacert={root}"]
    return Pair(
        [
            *common,
            f"--frontend=127.0.0.1,{out_port};no-tls",
            # It verifies a host name besides the chain, and a mesh has none.
            f"--backend=127.0.0.1,{in_port};;proto=h2;tls",
            "--insecure",
            f"--client-cert-file={folder}/web.pem",
            f"--client-private-key-file={folder}/web.key",
        ],
        [
            *common,
            f"--frontend=127.0.0.1,{in_port};tls",
            f"--backend=127.0.0.1,{backend.port};;proto=h2",
            "--verify-client",
            f"--verify-client-cacert={root}",
            f"{folder}/orders.key",
            f"{folder}/orders.pem",
        ],
        out_port,
        in_port,
    )


def _haproxy(folder: Path, backend: Backend) -> Pair:
    out_port, in_port, root = free_port(), free_port(), folder / "root.pem"
    show = f"ssl crt {folder}/{{name}}.both.pem ca-file {root} verify required alpn h2"
    commands = []
    for name, bind, server in (
        ("out", str(out_port), f"127.0.0.1:{in_port} {show.format(name='web')}"),
        ("in", f"{in_port} {show.format(name='orders')}", f"127.0.0.1:{backend.port} proto h2"),
    ):
        config = folder / f"haproxy-{name}.cfg"
        config.write_text(
            f"{HAPROXY_DEFAULTS}frontend bench\n    bind 127.0.0.1:{bind}\n    default_backend bench\n"
            f"backend bench\n    http-reuse always\n    server backend {server}\n"
        )
        commands.append([find("haproxy") or "haproxy", "-db", "-f", str(config)])
    return Pair(commands[0], commands[1], out_port, in_port)


_HTTP = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


def _envoy(folder: Path, backend: Backend) -> Pair:
    out_port, in_port = free_port(), free_port()
    commands = []
    for name, port, target, inbound in (("out", out_port, in_port, False), ("in", in_port, backend.port, True)):
        own, other = ("orders", "web") if inbound else ("web", "orders")
        names = f'[{{san_type: URI, matcher: {{exact: "{ServiceId(DOMAIN, other)}"}}}}]'
        # A client of `handshakes` has another name than `web`.
        matched = "" if inbound else f", match_typed_subject_alt_names: {names}"
        tls = (
            "common_tls_context: {alpn_protocols: [h2], "
            f"tls_certificates: [{{certificate_chain: {{filename: {folder}/{own}.pem}}, "
            f"private_key: {{filename: {folder}/{own}.key}}}}], "
            f"validation_context: {{trusted_ca: {{filename: {folder}/root.pem}}{matched}}}}}"
        )
        kind = "DownstreamTlsContext" if inbound else "UpstreamTlsContext"
        extra = "require_client_certificate: true, " if inbound else ""
        socket = f'{{name: tls, typed_config: {{"@type": {_TLS}.{kind}, {extra}{tls}}}}}'
        config = folder / f"envoy-{name}.yaml"
        config.write_text(f"""\
static_resources:
  listeners:
  - name: bench
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - {f"transport_socket: {socket}" if inbound else "name: bench"}
      filters:
      - name: http
        typed_config:
          "@type": {_HTTP}
          stat_prefix: bench
          generate_request_id: false
          route_config:
            virtual_hosts:
            - {{name: bench, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: backend}}}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: backend
    type: STATIC
    connect_timeout: 5s
    {"" if inbound else f"transport_socket: {socket}"}
    circuit_breakers:
      thresholds: [{{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {target}}}}}}}
""")
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        commands.append([str(envoy()), "--config-path", str(config), *options])
    return Pair(commands[0], commands[1], out_port, in_port)


KINDS: dict[str, Callable[[Path, Backend], Pair]] = {
    "sidecar": _ours,
    "nghttpx": _nghttpx,
    "haproxy": _haproxy,
    "envoy": _envoy,
}


# --- measured ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def started(pair: Pair, folder: Path) -> Iterator[tuple[int, int]]:
    """Run both; their process ids."""
    environment = {"SIDECAR_RUN_DIR": str(folder / "run")}
    with contextlib.ExitStack() as running:
        pids = []
        for name, command, port in (
            ("in", pair.in_command, pair.in_port),
            ("out", pair.out_command, pair.out_port),
        ):
            log = folder / f"{name}.log"
            child = running.enter_context(spawned(command, PROXY_CORE, log, environment))
            wait_until(partial(listening, port), child, log)
            pids.append(child.pid)
        yield pids[1], pids[0]


def measure(kind: str, folder: Path, backend: Backend, sample: Sample, scale: float, seconds: int) -> None:
    """One round of one kind."""
    pair = KINDS[kind](folder, backend)
    with started(pair, folder) as (out_pid, in_pid):
        _prove_that_strangers_are_refused(kind, pair.in_port)
        run(GRPC, pair.out_port, folder, 0.1 * scale)
        before = cpu_nanoseconds(out_pid), cpu_nanoseconds(in_pid)
        outcome = run(GRPC, pair.out_port, folder, scale)
        after = cpu_nanoseconds(out_pid), cpu_nanoseconds(in_pid)
        if outcome.good != outcome.requests:
            raise BenchError(f"{kind}: {outcome.requests - outcome.good} of {outcome.requests} answers were not good")
        sample.out_us.append((after[0] - before[0]) / 1000 / outcome.requests)
        sample.in_us.append((after[1] - before[1]) / 1000 / outcome.requests)
        before_ns = cpu_nanoseconds(in_pid)
        count = _handshakes(pair.in_port, folder, seconds)
        sample.handshake_us.append((cpu_nanoseconds(in_pid) - before_ns) / 1000 / count)
        sample.handshakes.append(count / seconds)


def _prove_that_strangers_are_refused(kind: str, port: int) -> None:
    """Without a certificate nobody is answered: else this would not be mutual TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), 5) as connection,
        context.wrap_socket(connection) as stream,
    ):
        stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        if stream.recv(9):
            raise BenchError(f"{kind}: a client without a certificate was let in")


def _handshakes(port: int, folder: Path, seconds: int) -> int:
    """How many full handshakes a client makes in so many seconds."""
    command = ["taskset", "--cpu-list", str(LOAD_CORE), "openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-new"]
    command += ["-cert", f"{folder}/client.pem", "-key", f"{folder}/client.key", "-CAfile", f"{folder}/root.pem"]
    done = subprocess.run([*command, "-time", str(seconds)], capture_output=True, text=True, timeout=60 + seconds)
    found = re.search(r"(\d+) connections in \d+ real seconds", done.stdout)
    if found is None or int(found[1]) == 0:
        raise BenchError(f"openssl s_time made no connection: {done.stdout[-300:]} {done.stderr[-300:]}")
    return int(found[1])


def report(samples: dict[str, Sample]) -> str:
    """A table of medians, with the smallest and the largest round."""

    def cell(values: list[float]) -> str:
        return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"

    lines = [
        "| pair of | CPU µs/call, out | CPU µs/call, in | CPU µs/handshake, in | handshakes/s of one client |",
        "|---|---|---|---|---|",
    ]
    for kind, sample in samples.items():
        values = (sample.out_us, sample.in_us, sample.handshake_us, sample.handshakes)
        lines.append(f"| {kind} | {' | '.join(map(cell, values))} |")
    return "\n".join(lines)


def main() -> None:
    """Rounds are interleaved; each begins with another kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the calls")
    parser.add_argument("--seconds", type=int, default=5, help="of handshakes, each round")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    arguments = parser.parse_args()
    samples = {kind: Sample() for kind in arguments.kinds}
    with tempfile.TemporaryDirectory(prefix="mtls-") as directory:
        folder = Path(directory)
        identities(folder)
        with backends(folder, {BackendKind.GRPC}) as running:
            for number in range(arguments.rounds):
                turn = number % len(samples)
                for kind in [*samples][turn:] + [*samples][:turn]:
                    place = folder / f"{kind}-{number}"
                    place.mkdir()
                    for file in [*folder.glob("*.pem"), *folder.glob("*.key"), folder / "state"]:
                        (place / file.name).symlink_to(file)
                    measure(kind, place, running[BackendKind.GRPC], samples[kind], arguments.scale, arguments.seconds)
    print(report(samples))


if __name__ == "__main__":
    main()
