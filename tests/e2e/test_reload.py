"""Documents change while requests run: what is saved is live at once, what is wrong never is."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from tests.e2e.conftest import Json, Running
from tests.mesh import Proxy, eventually
from tests.peers import http1
from tests.peers.http1 import Http1, encoded
from tests.peers.message import Answer, App, Request, sized
from tests.peers.scripted import PATIENCE

# Seconds. Typical is 60 ms, 200 are the budget; five times that is a defect on any machine.
LIVE_WITHIN = 1.0
CHANGES = 6


def named(name: str) -> App:
    """An app that tells its name."""
    return lambda _: Answer(200, sized(name.encode()), name.encode())


@pytest.fixture(scope="module")
def instances() -> Iterator[dict[str, str]]:
    """Two servers that tell their names: address by name."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(http1.server(named(name))).address for name in ("one", "two")}


def tells(peer: Http1, service: str) -> str:
    return peer.ask(Request(host=service)).body.decode()


def answers(peer: Http1, service: str, name: str) -> bool:
    return tells(peer, service) == name


def routed(instances: dict[str, str], to: str) -> Json:
    """The fields of a service with a subset for each instance, and a route to one of them."""
    return {
        "tls": "disabled",
        "endpoints": [{"address": address, "meta": {"name": name}} for name, address in instances.items()],
        "subsets": {name: {"where": f'meta.name == "{name}"'} for name in instances},
        "routes": [{"name": "all", "to": {"subset": to}}],
    }


def refusals(proxy: Proxy) -> list[Json]:
    found: list[Json] = json.loads(proxy.get("/ready")[1]).get("refusals", [])
    return found


def test_a_changed_route_is_live_at_once_on_connections_that_are_open(
    running: Running, instances: dict[str, str]
) -> None:
    service = running.service(**routed(instances, "one"))
    taken = []
    with Http1.connect(running.web.outbound) as peer:
        assert tells(peer, service) == "one"
        for change in range(CHANGES):
            to = ("two", "one")[change % 2]
            running.mesh.document(f"services/{service}", **routed(instances, to))
            saved = time.monotonic()
            eventually(f"{to} answers", partial(answers, peer, service, to))
            taken.append(time.monotonic() - saved)
    print(f"live after {[f'{seconds * 1000:.0f} ms' for seconds in taken]}")
    assert min(taken) < LIVE_WITHIN


def test_no_request_fails_while_documents_change(running: Running, instances: dict[str, str]) -> None:
    service = running.service(**routed(instances, "one"))
    seen: list[tuple[int, str]] = []
    done = threading.Event()

    def ask_on_and_on() -> None:
        with Http1.connect(running.web.outbound) as peer:
            while not done.is_set():
                answer = peer.ask(Request(host=service))
                seen.append((answer.status, answer.body.decode()))

    asking = threading.Thread(target=ask_on_and_on)
    asking.start()
    try:
        for change in range(CHANGES):
            running.service(name=service, **routed(instances, ("two", "one")[change % 2]))
    finally:
        done.set()
        asking.join(PATIENCE)
    assert set(seen) == {(200, "one"), (200, "two")}


def test_a_request_in_flight_keeps_its_route(running: Running, instances: dict[str, str]) -> None:
    asked, go = threading.Event(), threading.Event()

    def slow(_: Request) -> Answer:
        asked.set()
        go.wait(PATIENCE)
        return Answer(200, sized(b"slow"), b"slow")

    with http1.server(slow) as server:
        service = running.service(server.address)
        with Http1.connect(running.web.outbound) as before, Http1.connect(running.web.outbound) as after:
            before.send(encoded(Request(host=service)))
            assert asked.wait(PATIENCE)

            running.service(instances["two"], name=service)

            assert tells(after, service) == "two"
            go.set()
            assert before.answer().body == b"slow"
            assert tells(before, service) == "two"


def test_a_broken_document_is_told_and_its_last_good_version_serves(
    running: Running, instances: dict[str, str]
) -> None:
    service = running.service(instances["one"])
    running.mesh.text(f"services/{service}", "protocol: http\nload_balancer: least_requests\ntimout: 5s\n")

    problems = eventually("the refusal", lambda: refusals(running.web))
    assert {problem["place"] for problem in problems} == {
        f"services/{service}.yaml:2:16",
        f"services/{service}.yaml:3:1",
    }
    by_line = {problem["place"].split(":")[1]: problem for problem in problems}
    assert (by_line["2"]["hint"], by_line["3"]["hint"]) == ("did you mean `least_request`?", "did you mean `timeout`?")
    assert "load_balancer: least_requests" in by_line["2"]["snippet"]

    # Both in the answer to whether it is ready, which it is, and among the documents.
    assert running.web.get("/ready")[0] == 200
    configuration = json.loads(running.web.get("/api/v1/config")[1])
    assert configuration["refusals"] == problems
    assert f"services/{service}.yaml:2:16" in running.web.output()
    with Http1.connect(running.web.outbound) as peer:
        assert tells(peer, service) == "one"

        # The next good version takes its place, and nothing is left of the refusal.
        running.service(instances["two"], name=service)
        assert tells(peer, service) == "two"
    eventually("no refusal", lambda: not refusals(running.web))


def test_a_document_that_is_no_yaml_harms_no_other(running: Running, instances: dict[str, str]) -> None:
    service = running.service(instances["one"])
    broken = running.mesh.text("services/broken", "protocol: [")
    eventually("the refusal", lambda: refusals(running.web))

    # Others still change, though this one has never been good.
    running.service(instances["two"], name=service)
    with Http1.connect(running.web.outbound) as peer:
        assert tells(peer, service) == "two"
        assert peer.ask(Request(host="broken")).status == 404
    broken.unlink()
    eventually("no refusal", lambda: not refusals(running.web))


def test_a_service_whose_document_is_deleted_is_gone(running: Running, instances: dict[str, str]) -> None:
    service = running.service(instances["one"])
    with Http1.connect(running.web.outbound) as peer:
        assert tells(peer, service) == "one"
        running.remove(service)
        eventually("it is gone", lambda: peer.ask(Request(host=service)).status == 404)
