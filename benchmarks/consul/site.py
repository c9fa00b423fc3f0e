"""One Consul agent with sidecars beside it: they on a core of their own, the agent and all else on another."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.process import LOAD_CORE, PROXY_CORE
from tests.mesh import Mesh, Proxy
from tests.real.consul_agent import Agent

# Operations of one transaction. Consul takes 128, but each of many checks costs it time.
_BATCH = 32
# The node of the services that no agent looks after: nobody asks their checks again.
NODE = "bench"


class Site:
    """An agent that is alone with what a case puts into it."""

    def __init__(self, folder: Path) -> None:
        self.agent = Agent(folder)
        self._folder = folder

    @contextmanager
    def running(self) -> Iterator["Site"]:
        """From start to end, with the mesh of sidecars."""
        self.agent.start()
        try:
            with Mesh(self._folder, self.agent.address) as self.mesh:
                yield self
        finally:
            self.agent.stop()

    def sidecar(self, *arguments: str, consul: str = "") -> Proxy:
        """A ready sidecar of the service "web", whose application makes the calls; `consul`: by this address."""
        with on_core(PROXY_CORE):
            return self.mesh.sidecar("web", 1, *arguments, environ={"CONSUL_HTTP_ADDR": consul} if consul else None)

    def register(self, instances: Sequence[dict[str, Any]]) -> None:
        """Put these into the catalog, as {ID, Service, Address, Port, Meta}, each with a check that passes."""
        self.agent.put("/v1/catalog/register", {"Node": NODE, "Address": "127.0.0.1"})
        operations: list[dict[str, Any]] = []
        for one in instances:
            check = {"Node": NODE, "CheckID": one["ID"], "Name": "alive", "ServiceID": one["ID"], "Status": "passing"}
            operations.append({"Service": {"Verb": "set", "Node": NODE, "Service": one}})
            operations.append({"Check": {"Verb": "set", "Check": check}})
        for start in range(0, len(operations), _BATCH):
            self.agent.put("/v1/txn", operations[start : start + _BATCH])

    def deregister(self, instance_id: str) -> None:
        """Take one out."""
        self.agent.put("/v1/catalog/deregister", {"Node": NODE, "ServiceID": instance_id})

    def write(self, documents: dict[str, str]) -> None:
        """Put documents, by key: "services/orders"."""
        for key, text in documents.items():
            self.agent.put(f"/v1/kv/sidecar/{key}", text)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started in this block runs on `core`."""
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, {LOAD_CORE})


def instance(service: str, number: int, address: str, port: int, **meta: str) -> dict[str, Any]:
    """One instance as Consul has it."""
    return {"ID": f"{service}-{number}", "Service": service, "Address": address, "Port": port, "Meta": meta}


def addresses(number: int, count: int) -> list[str]:
    """Loopback addresses that no other service has."""
    return [f"127.{1 + number // 250}.{number % 250}.{1 + each}" for each in range(count)]


def document(service: str, size: int) -> str:
    """A document of about `size` bytes as people write them: subsets, and routes with splits and timeouts."""
    text = (
        "protocol: http\ntls: disabled\nload_balancer: least_request\ntimeout: 5s\nretry: {attempts: 3}\n"
        "subsets:\n  v1: {where: 'meta.version == \"1\"'}\n  v2: {where: 'meta.version == \"2\"'}\nroutes:\n"
    )
    number = 0
    while len(text) < size - 90:
        text += (
            f"  - name: route-{number}\n"
            f"    match: {{path: /shop.v1.{service}/Method{number}, headers: {{x-beta: '1'}}}}\n"
            "    split: [{weight: 90, to: {subset: v1}}, {weight: 10, to: {subset: v2}}]\n    timeout: 2s\n"
        )
        number += 1
    return text


def all_to(subset: str) -> str:
    """A document that leads everything to one subset."""
    subsets = {name: {"where": f'meta.version == "{name[1:]}"'} for name in ("v1", "v2")}
    routes = [{"name": "all", "to": {"subset": subset}}]
    return json.dumps({"protocol": "http", "tls": "disabled", "subsets": subsets, "routes": routes})
