"""One running mesh for the tests that only add services to it. Tests that stop, break or trace proxies start their own.

Every proxy of a mesh reads every change of a document, so services and sidecars end with the tests that need them.

    def test_a_service_that_refuses(running: Running) -> None:
        with refusing() as nobody, Http1.connect(running.web.outbound) as client:
            orders = running.service(nobody)
            assert client.ask(Request(host=orders)).status == 503

`web` is a sidecar: a caller inside the mesh, who is told reasons. `edge` is a gateway: callers outside, who are not.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from tests.mesh import LOOPBACK, Mesh, Proxy, eventually
from tests.peers.grpc_app import GrpcApp, grpc_app

Json = dict[str, Any]


@dataclass
class Running:
    """A sidecar and a gateway that serve, and the services added to them."""

    mesh: Mesh
    web: Proxy
    edge: Proxy
    # Those that are there, in the order in which they came.
    services: list[str] = field(default_factory=list)
    _names: Iterator[int] = field(default_factory=count)
    _routes: list[Json] = field(default_factory=list)

    def service(self, *addresses: str, name: str = "", **fields: Any) -> str:
        """Add a service whose endpoints, at "address:port", have no sidecar; returns its name once it is live.

        On `web` its host is its name, on `edge` as well. `fields` are those of its document; given again with a `name`
        they change it. Durations are written as the admin API tells them: "1500ms", "2s".
        """
        endpoints = [{"address": address} for address in addresses]
        return self._write(name, **{"tls": "disabled", "endpoints": endpoints, **fields})

    @contextmanager
    def sidecar(self, name: str, app_port: int) -> Iterator[Proxy]:
        """Another sidecar of the mesh, until the block ends."""
        sidecar = self.mesh.sidecar(name, app_port)
        yield sidecar
        self.mesh.stop(sidecar)

    @contextmanager
    def with_sidecar(self, name: str, app_port: int, **fields: Any) -> Iterator[Proxy]:
        """Add a service whose only instance is behind a sidecar, and reached by mutual TLS, until the block ends."""
        self.mesh.document(f"services/{name}", **fields)
        with self.sidecar(name, app_port) as sidecar:
            self._write(name, **fields, endpoints=[{"address": sidecar.inbound}])
            yield sidecar
            self.remove(name)

    def route(self, route: Json) -> None:
        """Add a route to the gateway, or replace the one of its name; returns once it is live."""
        routes = [route, *(other for other in self._routes if other["name"] != route["name"])]
        # One for every host would take the requests of those behind it.
        self._routes = sorted(routes, key=lambda other: "host" not in other.get("match", {}))
        live(self.edge, "gateway", "edge", self._write_gateway())

    def remove(self, *names: str) -> None:
        """Delete the documents of these services, and the gateway's routes to them; not waited for."""
        self._routes = [route for route in self._routes if route["to"]["service"] not in names]
        self._write_gateway()
        for name in names:
            (self.mesh.config / f"services/{name}.yaml").unlink()
            self.services.remove(name)

    def _write_gateway(self) -> Json:
        gateway = {"listeners": [LOOPBACK], "routes": self._routes}
        self.mesh.document("gateways/edge", **gateway)
        return gateway

    def _write(self, name: str, **fields: Any) -> str:
        name = name or f"service-{next(self._names)}"
        if name not in self.services:
            self.services.append(name)
        self.mesh.document(f"services/{name}", **fields)
        self.route({"name": name, "match": {"host": name}, "to": {"service": name}})
        for proxy in (self.web, self.edge):
            live(proxy, "service", name, fields)
        return name


def live(proxy: Proxy, kind: str, name: str, fields: Json) -> None:
    """Wait until this document is in force with these fields."""

    def is_live() -> bool:
        documents = json.loads(proxy.get("/api/v1/config")[1])["documents"]
        return any(
            (document["kind"], document["name"], document["fields"]) == (kind, name, fields) for document in documents
        )

    eventually(f"{kind} {name} live at {proxy.name}", is_live, within=10)


def failures(proxy: Proxy, host: str) -> list[Json]:
    """What the proxy says of calls to this host that ended badly, newest first."""
    status, body = proxy.get("/api/v1/failures?limit=1000")
    assert status == 200
    return [failure for failure in json.loads(body)["failures"] if failure["authority"] == host]


def last_failure(proxy: Proxy, host: str) -> Json:
    """The newest of them; it stands there a moment after its answer does."""
    return eventually(f"a failure of {host} at {proxy.name}", lambda: failures(proxy, host))[0]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Mesh(tmp_path_factory.mktemp("running")) as mesh:
        mesh.document("gateways/edge", listeners=[LOOPBACK])
        yield Running(mesh, mesh.sidecar("web", 1), mesh.gateway("edge"))


@pytest.fixture(autouse=True)
def services_of_one_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take away the services that a test has added: each change of a document is read by every proxy of the mesh."""
    if "running" not in request.fixturenames:
        yield
        return
    running: Running = request.getfixturevalue("running")
    before = len(running.services)
    yield
    if added := running.services[before:]:
        running.remove(*added)


@pytest.fixture(scope="session")
def echo(running: Running) -> Iterator[GrpcApp]:
    """The gRPC service `echo`, behind a sidecar of its own."""
    with grpc_app() as app, running.with_sidecar("echo", app.port, protocol="grpc"):
        yield app
