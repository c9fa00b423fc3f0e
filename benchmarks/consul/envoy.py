"""Envoy with a mesh's clusters written out: one host and one cluster for each service."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.prerequisites import envoy
from benchmarks.process import PROXY_CORE, free_port, listening, spawned, wait_until

_TYPES = "type.googleapis.com/envoy.extensions.filters"


@contextmanager
def envoy_with(
    folder: Path, services: Mapping[str, Sequence[tuple[str, int]]], admin_port: int = 0
) -> Iterator[tuple[int, str]]:
    """Run it with these endpoints; gives its process id and where it listens. With an admin port it has statistics."""
    port = free_port()
    config = folder / "envoy.json"
    clusters = [_cluster(name, endpoints) for name, endpoints in services.items()]
    resources = {"listeners": [_listener(port, services)], "clusters": clusters}
    admin = {"admin": {"address": _address("127.0.0.1", admin_port)}} if admin_port else {}
    config.write_text(json.dumps({**admin, "static_resources": resources}))
    command = [str(envoy()), "--config-path", str(config), "--concurrency", "1", "--disable-hot-restart"]
    log = folder / "envoy.log"
    with spawned([*command, "--log-level", "error"], PROXY_CORE, log) as child:
        wait_until(lambda: listening(port), child, log, 60)
        yield child.pid, f"127.0.0.1:{port}"


def _listener(port: int, services: Mapping[str, object]) -> object:
    hosts = [
        {"name": name, "domains": [name], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name}}]}
        for name in services
    ]
    router = {"@type": f"{_TYPES}.http.router.v3.Router"}
    manager = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "generate_request_id": False,
        "route_config": {"virtual_hosts": hosts},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": "bench", "address": _address("127.0.0.1", port), "filter_chains": [{"filters": filters}]}


def _cluster(name: str, endpoints: Sequence[tuple[str, int]]) -> object:
    found = [{"endpoint": {"address": _address(host, port)}} for host, port in endpoints]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": found}]},
    }


def _address(host: str, port: int) -> object:
    return {"socket_address": {"address": host, "port_value": port}}
