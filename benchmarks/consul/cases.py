"""What is measured, each case on a Consul of its own."""

import random
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.consul.callers import Caller
from benchmarks.consul.counting import Relay
from benchmarks.consul.envoy import envoy_with
from benchmarks.consul.figures import Row, Scale, mebibytes, times
from benchmarks.consul.site import Site, addresses, all_to, document, instance
from benchmarks.consul.within import within_the_process
from benchmarks.process import BenchError, cpu_nanoseconds, memory
from tests.mesh import Proxy
from tests.real.callers import application, call

STARTS = 5
# Seconds that a sidecar gets to follow one change before the next one.
REST = 0.3


def one_alone(folder: Path, scale: Scale) -> Iterator[Row]:
    """A sidecar that nobody uses."""
    with Site(folder).running() as site:
        ready, cpu = [], []
        for number in range(STARTS):
            began = time.monotonic()
            proxy = site.sidecar("--id", f"web-{number}")
            ready.append(time.monotonic() - began)
            cpu.append(cpu_nanoseconds(proxy.process.pid) / 1e9)
            proxy.stop()
        proxy = site.sidecar()
        yield Row(
            "start to `/ready`", "≤ 1 s", f"{statistics.median(ready):.2f} s", f"{statistics.median(cpu):.2f} s of CPU"
        )
        before = cpu_nanoseconds(proxy.process.pid)
        time.sleep(scale.idle_seconds)
        spent = (cpu_nanoseconds(proxy.process.pid) - before) / 1e6 / scale.idle_seconds
        yield Row("idle, memory", "≤ 64 MiB", mebibytes(memory(proxy.process.pid)), f"after {scale.idle_seconds:g} s")
        yield Row("idle, CPU", "", f"{spent:.2f} ms a second")
        with application("orders") as port:
            began = time.monotonic()
            site.mesh.sidecar("orders", port)
            while call(proxy.outbound, "orders") != (200, "orders"):
                time.sleep(0.005)
            took = time.monotonic() - began
        yield Row("start to the first call through another sidecar", "≤ 2 s", f"{took:.2f} s", "one start")


def changes(folder: Path, scale: Scale) -> Iterator[Row]:
    """A service in use: its key is put, one of its two instances is deregistered."""
    with Site(folder).running() as site, application("v1") as one, application("v2") as two:
        instances = [
            instance("orders", 1, "127.0.0.1", one, version="1"),
            instance("orders", 2, "127.0.0.1", two, version="2"),
        ]
        site.register(instances)
        site.write({"services/orders": all_to("v1")})
        proxy = site.sidecar()
        warm(proxy, ["orders"])
        with Caller(proxy.outbound, "orders") as caller:
            took = moved(site, caller, scale)
            yield Row("`consul kv put` → first request routed by it", "≤ 200 ms", times(took), f"{len(took)} puts")
            site.write({"services/orders": "{protocol: http, tls: disabled, load_balancer: round_robin}"})
            caller.first("v1", time.monotonic())
            caller.first("v2", time.monotonic())
            yield Row("deregistration → last request to it", "≤ 200 ms", *deregister(site, caller, instances, scale))
        if caller.failures():
            raise BenchError(f"{caller.failures()} of {len(caller.calls)} calls failed")


def moved(site: Site, caller: Caller, scale: Scale) -> list[float]:
    """Put the key that leads all calls to the other instance, again and again: the seconds until each was followed."""
    took = []
    for turn in range(scale.rounds):
        subset = ("v2", "v1")[turn % 2]
        since = time.monotonic()
        site.write({"services/orders": all_to(subset)})
        took.append(caller.first(subset, since) - since)
        time.sleep(REST)
    return took


def deregister(site: Site, caller: Caller, instances: Sequence[dict[str, object]], scale: Scale) -> tuple[str, str]:
    """Take the second instance out and in again."""
    gone, back = [], []
    for _ in range(scale.rounds):
        since = time.monotonic()
        site.deregister(str(instances[1]["ID"]))
        gone.append(caller.last("v2", since) - since)
        since = time.monotonic()
        site.register(instances[1:])
        back.append(caller.first("v2", since) - since)
        time.sleep(REST)
    return times(gone), f"{len(gone)} times; registration → first request: {times(back)}"


def many_watched(folder: Path, scale: Scale) -> Iterator[Row]:
    """Hundreds of services in use at one sidecar."""
    with Site(folder).running() as site, application("v1") as one, application("v2") as two:
        names = [f"service-{number}" for number in range(scale.watched)]
        both = {name: [instance(name, 1, "127.0.0.1", one), instance(name, 2, "127.0.0.1", two)] for name in names}
        site.register([each for pair in both.values() for each in pair])
        site.write({f"services/{name}": "{tls: disabled, load_balancer: round_robin}" for name in names})
        with Relay(site.agent.address).running() as relay:
            proxy = site.sidecar(consul=relay.address)
            warm(proxy, names)
            time.sleep(scale.idle_seconds / 4)
            asked, cpu = relay.requests, cpu_nanoseconds(proxy.process.pid)
            time.sleep(scale.idle_seconds)
            asked, cpu = relay.requests - asked, cpu_nanoseconds(proxy.process.pid) - cpu
            yield Row(
                f"{len(names)} watched services, nothing changes",
                "",
                f"{asked / scale.idle_seconds:.1f} requests, {cpu / 1e6 / scale.idle_seconds:.1f} ms of CPU a second",
                mebibytes(memory(proxy.process.pid)),
            )
            gone = []
            chosen = random.Random(1).sample(names, min(scale.rounds, len(names)) // 2 + 1)  # noqa: S311 - no secret
            for name in chosen:
                with Caller(proxy.outbound, name) as caller:
                    caller.first("v2", 0.0)
                    since = time.monotonic()
                    site.deregister(f"{name}-2")
                    gone.append(caller.last("v2", since) - since)
            yield Row(
                "of these one instance is deregistered → last request to it", "≤ 2 s", times(gone), f"{len(gone)} times"
            )


def many_documents(folder: Path, scale: Scale) -> Iterator[Row]:
    """A large configuration."""
    with Site(folder).running() as site, application("v1") as one, application("v2") as two:
        site.write(
            {f"services/service-{number}": document(f"service-{number}", 2048) for number in range(scale.documents)}
        )
        site.write({"services/orders": all_to("v1")})
        site.register([
            instance("orders", 1, "127.0.0.1", one, version="1"),
            instance("orders", 2, "127.0.0.1", two, version="2"),
        ])  # fmt: skip
        began = time.monotonic()
        proxy = site.sidecar()
        yield Row(
            f"{scale.documents} documents of 2 KiB: start to `/ready`",
            "",
            f"{time.monotonic() - began:.2f} s",
            f"{cpu_nanoseconds(proxy.process.pid) / 1e9:.2f} s of CPU",
        )
        warm(proxy, ["orders"])
        with Caller(proxy.outbound, "orders") as caller:
            took = moved(site, caller, scale)
        yield Row("of these one is put → first request routed by it", "≤ 200 ms", times(took), f"{len(took)} puts")
        cost = []
        for turn in range(scale.rounds // 2):
            before = cpu_nanoseconds(proxy.process.pid)
            site.write({"services/orders": all_to(("v1", "v2")[turn % 2])})
            time.sleep(4 * REST)
            cost.append(cpu_nanoseconds(proxy.process.pid) - before)
        yield Row(
            "what such a change costs the sidecar",
            "",
            f"{statistics.median(cost) / 1e6:.0f} ms of CPU",
            mebibytes(memory(proxy.process.pid)),
        )


def many_endpoints(folder: Path, scale: Scale) -> Iterator[Row]:
    """A large catalog, all of it in use, beside Envoy with the same."""
    with Site(folder).running() as site, application("v1", address="0.0.0.0") as port:  # noqa: S104 - all of 127/8
        names = [f"service-{number}" for number in range(scale.services)]
        found = {name: addresses(number, scale.instances) for number, name in enumerate(names)}
        site.register([
            instance(name, number, address, port) for name in names for number, address in enumerate(found[name])
        ])  # fmt: skip
        site.write({"mesh": "{}", **{f"services/{name}": "{tls: disabled}" for name in names}})
        proxy = site.sidecar()
        warm(proxy, names)
        ours = memory(proxy.process.pid)
        with envoy_with(folder, {name: [(address, port) for address in found[name]] for name in names}) as (pid, edge):
            for name in names:
                if call(edge, name)[0] != 200:
                    raise BenchError(f"Envoy does not answer for {name}")
            theirs = memory(pid)
        size = f"{scale.services} services x {scale.instances} endpoints, all in use"
        yield Row(
            f"{size}: memory", "≤ Envoy", mebibytes(ours), f"Envoy with a static configuration: {mebibytes(theirs)}"
        )
        with Caller(proxy.outbound, names[0]) as caller:
            time.sleep(3)
            control = [call.answered - call.sent for call in caller.calls]
            calm = len(caller.calls)
            before = cpu_nanoseconds(proxy.process.pid)
            for turn in range(scale.rounds):
                name = names[1 + turn % (len(names) - 1)]
                site.deregister(f"{name}-0")
                time.sleep(REST)
            cost = cpu_nanoseconds(proxy.process.pid) - before
            disturbed = [call.answered - call.sent for call in caller.calls[calm:]]
        yield Row(
            "requests while single endpoints of it vanish",
            "≤ 5 ms later",
            times(disturbed),
            f"before: {times(control)}",
        )
        yield Row(
            "what one of these changes costs the sidecar",
            "",
            f"{cost / scale.rounds / 1e6:.1f} ms of CPU",
            "calls included",
        )


def warm(proxy: Proxy, names: Sequence[str]) -> None:
    """Call each once, so that the sidecar knows its endpoints."""
    for name in names:
        deadline = time.monotonic() + 30
        while not _answers(proxy, name):
            if time.monotonic() > deadline:
                raise BenchError(f"{name} does not answer:\n{proxy.output()[-2000:]}")
            time.sleep(0.05)


def _answers(proxy: Proxy, name: str) -> bool:
    try:
        return call(proxy.outbound, name)[0] == 200
    except TimeoutError:
        return False


CASES = (within_the_process, one_alone, changes, many_watched, many_documents, many_endpoints)
