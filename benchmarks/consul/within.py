"""The control side without Consul or a network: what taking one change costs in the process itself."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from benchmarks.consul.figures import Row, Scale, times
from benchmarks.consul.site import addresses, document, on_core
from benchmarks.process import PROXY_CORE
from sidecar import dataplane
from sidecar.admin.status import Status
from sidecar.config.document import DocumentSet, Key
from sidecar.config.load import load
from sidecar.control import Control
from sidecar.identity.process import LocalIssuer
from sidecar.identity.spiffe import ServiceId
from sidecar.snapshot import SidecarRole
from sidecar.telemetry.otlp import read_environment
from sidecar.wire import control_pb2
from sidecar.world import EndpointsUpdate, Instance, Target, World

ROLE = SidecarRole("web", inbound="127.0.0.1:0", outbound="127.0.0.1:0")


def within_the_process(folder: Path, scale: Scale) -> Iterator[Row]:
    """Update in, data plane swapped, on a core of its own."""
    with on_core(PROXY_CORE):
        yield from _measure(folder, scale)


def _measure(folder: Path, scale: Scale) -> Iterator[Row]:
    names = [f"service-{number}" for number in range(scale.services)]
    texts = {name: document(name, 2048) for name in names}
    parsed = []
    documents = {}
    for name, text in texts.items():
        began = time.perf_counter()
        key = Key("service", name)
        documents[key] = load(f"sidecar/services/{name}", text.encode(), key)
        parsed.append(time.perf_counter() - began)
    yield Row("reading one document of 2 KiB", "", times(parsed), f"{len(parsed)} of them, in the process alone")

    known = {Target(name): _instances(name, addresses(number, scale.instances)) for number, name in enumerate(names)}
    told = DocumentSet(MappingProxyType(documents), discovered=True)
    world = replace(World().apply(told), endpoints=MappingProxyType(known))
    plane = dataplane.start(control_pb2.Options(workers=1, service="web", span_buffer=1))
    control = Control(plane, Status("sidecar", "web"), ROLE, folder, read_environment({}, "web"))
    leaf = LocalIssuer(folder / "state", world.trust_domain).issue(ServiceId(world.trust_domain, "web"))
    began = time.perf_counter()
    control.start(world, leaf)
    first = time.perf_counter() - began
    size = f"{scale.services} services x {scale.instances} endpoints"
    yield Row(f"{size}, {scale.services} documents: first snapshot compiled and applied", "", times([first]), "once")
    for name in names:
        for cluster in (name, f"{name}/v1", f"{name}/v2"):
            control.want(cluster)

    took = []
    for turn in range(scale.rounds * 4):
        target = Target(names[turn % len(names)])
        fewer = known[target][turn % 2 :]
        began = time.perf_counter()
        control.update(EndpointsUpdate(target, fewer))
        took.append(time.perf_counter() - began)
    yield Row(
        "of these: one endpoint comes or goes", "≤ 10 ms", times(took), f"{len(took)} changes, each to three clusters"
    )

    took = []
    for turn in range(scale.rounds):
        name = names[turn % len(names)]
        key = Key("service", name)
        text = texts[name].replace("timeout: 2s", f"timeout: {3 + turn}s")
        began = time.perf_counter()
        documents[key] = load(f"sidecar/services/{name}", text.encode(), key)
        control.update(DocumentSet(MappingProxyType(dict(documents)), discovered=True))
        took.append(time.perf_counter() - began)
    yield Row("of these: one document changes", "", times(took), f"{len(took)} changes")


def _instances(name: str, hosts: list[str]) -> tuple[Instance, ...]:
    return tuple(
        Instance(f"bench/{name}-{number}", f"{host}:21000", meta={"version": str(1 + number % 2)})
        for number, host in enumerate(hosts)
    )
