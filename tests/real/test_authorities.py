"""Every authority but Consul, on running sidecars: leaves and roots that change under load, and what ends with them.

No server of others is needed, but time is: certificates live for seconds here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.leaves import Issuer, Pair, spiffe
from tests.mesh import ROOT, Mesh, Proxy, eventually
from tests.peers import http2, workload_api
from tests.peers.http2 import Http2
from tests.peers.message import Answer, Request, sized
from tests.real.callers import Caller, application, call

pytestmark = pytest.mark.real

Json = dict[str, Any]
# Seconds: a look at files and the process that reads them, on a busy machine.
SOON = 30.0


def state(mesh: Mesh) -> Path:
    return mesh.config.parent / "state"


def cli(mesh: Mesh, *arguments: str) -> str:
    """What this command of ours prints."""
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SIDECAR_STATE_DIR": str(state(mesh)),
        "SIDECAR_RUN_DIR": str(mesh.config.parent / "run"),
    }
    command = [sys.executable, "-m", "sidecar", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def certs(proxy: Proxy) -> Json:
    """What the admin server says; certificates that are new it reads first, which takes a busy machine seconds."""

    def ask() -> tuple[int, str] | None:
        with suppress(TimeoutError):
            return proxy.get("/api/v1/certs")
        return None

    status, body = eventually("an answer", ask, SOON)
    assert status == 200, body
    told: Json = json.loads(body)
    return told


def rotations(proxy: Proxy) -> int:
    (found,) = re.findall(r"^sidecar_certificate_rotations_total (\d+)", proxy.get("/metrics")[1], re.MULTILINE)
    return int(found)


def have_rotated(proxies: Sequence[Proxy], times: int) -> bool:
    return all(rotations(proxy) >= times for proxy in proxies)


def has_made(caller: Caller, calls: int) -> bool:
    return len(caller.seen) >= calls


def reasons(proxy: Proxy) -> set[str]:
    told = json.loads(proxy.get("/api/v1/failures?limit=1000")[1])["failures"]
    return {failure["reason"] for failure in told}


def pair(mesh: Mesh, app: int, *caller: str, callee: Sequence[str] = ()) -> tuple[Proxy, Proxy]:
    """The sidecars of `orders` and of its caller `web`, each with these arguments more."""
    mesh.document("services/orders", protocol="http")
    orders = mesh.sidecar("orders", app, *callee)
    mesh.document("services/orders", protocol="http", endpoints=[{"address": orders.inbound}])
    return orders, mesh.sidecar("web", 1, *caller)


class TestLocalCa:
    def test_roots_that_rotate_cost_no_call_and_the_earlier_one_can_be_distrusted(self, tmp_path: Path) -> None:
        with application("tea") as app, Mesh(tmp_path) as mesh:
            cli(mesh, "ca", "create", "--leaf-lifetime", "1h")
            both = pair(mesh, app)
            first = Issuer.of(state(mesh))
            with Caller(both[1].outbound, "orders") as caller:
                for done in range(1, 4):
                    cli(mesh, "ca", "rotate")
                    eventually("rotated", partial(have_rotated, both, done), SOON)
                    eventually("calls", partial(has_made, caller, len(caller.seen) + 20), SOON)
            assert caller.failures == []

            roots = json.loads(cli(mesh, "ca", "show", "-o", "json"))["roots"]
            assert [root["trusted_until"] is None for root in roots] == [True, False, False, False]
            told = certs(both[0])
            assert [root["sha256"] for root in told["roots"]] == [root["sha256"] for root in roots]
            # The leaf, and its root signed by the one before.
            assert len(told["identity"]["chain"]) == 2

            cli(mesh, "ca", "rotate", "--distrust")
            eventually("rotated", lambda: all(len(certs(one)["roots"]) == 1 for one in both), SOON)
            assert call(both[1].outbound, "orders") == (200, "tea")
            # A leaf of a root that was removed.
            directory = tmp_path / "files"
            write(directory, first.issue(spiffe("late")), first)
            late = mesh.sidecar("late", 1, "--identity", f"files:{directory}")
            assert call(late.outbound, "orders")[0] == 503
            # Each refuses the other; the caller is the first to see why.
            assert "tls-failure" in reasons(late)

    @pytest.mark.long
    @pytest.mark.timeout(300)
    def test_leaves_of_ten_seconds_and_ten_roots_cost_no_call(self, tmp_path: Path) -> None:
        with application("tea") as app, Mesh(tmp_path) as mesh:
            cli(mesh, "ca", "create", "--leaf-lifetime", "10s")
            both = pair(mesh, app)
            with Caller(both[1].outbound, "orders") as caller:
                eventually("ten leaves", partial(have_rotated, both, 10), 120)
                for done in range(10):
                    before = min(rotations(one) for one in both)
                    cli(mesh, "ca", "rotate")
                    eventually(f"root {done}", partial(have_rotated, both, before + 1), SOON)
            assert caller.failures == []
            assert len(caller.seen) > 1000

    def test_the_command_shows_who_is_who_and_when_the_next_certificate_is_due(self, tmp_path: Path) -> None:
        with Mesh(tmp_path) as mesh:
            mesh.sidecar("orders", 1)
            printed = cli(mesh, "certs")
            (told,) = json.loads(cli(mesh, "certs", "-o", "json"))
        assert f"sidecar orders: {spiffe('orders')}" in printed
        assert "renewed at 20" in printed
        assert "authority: the local CA in" in printed
        assert 0 < told["identity"]["seconds_left"] <= 24 * 3600


def write(directory: Path, shown: Pair, *roots: Issuer) -> None:
    """Write all three files anew, as Kubernetes does: a directory aside, then one link."""
    directory.mkdir(exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="..made-", dir=directory))
    (made / "tls.crt").write_bytes(shown.certificate_pem())
    (made / "tls.key").write_bytes(shown.key_pem())
    (made / "tls.key").chmod(0o600)
    (made / "ca.crt").write_bytes(b"".join(root.pem() for root in roots))
    link = directory / "..aside"
    link.symlink_to(made.name)
    link.replace(directory / "..data")
    for name in ("tls.crt", "tls.key", "ca.crt"):
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")


class TestFiles:
    def test_certificates_that_others_renew_are_taken_and_a_half_written_pair_is_not(self, tmp_path: Path) -> None:
        directory = tmp_path / "files"
        with application("tea") as app, Mesh(tmp_path) as mesh:
            cli(mesh, "ca", "create")
            mesh_ca = Issuer.of(state(mesh))
            write(directory, mesh_ca.issue(spiffe("web")), mesh_ca)
            _, web = pair(mesh, app, "--identity", f"files:{directory}")
            with Caller(web.outbound, "orders") as caller:
                for done in range(1, 4):
                    write(directory, mesh_ca.issue(spiffe("web")), mesh_ca)
                    eventually("taken", partial(have_rotated, (web,), done), SOON)
                # The key of another certificate, as it is between two writes.
                (directory / "tls.key").write_bytes(mesh_ca.issue(spiffe("web")).key_pem())
                eventually("refused", lambda: "is not the key of" in certs(web)["failure"], SOON)
                write(directory, mesh_ca.issue(spiffe("other")), mesh_ca)
                eventually("refused", lambda: f"expected {spiffe('web')}"[:20] in certs(web)["failure"], SOON)
                assert rotations(web) == 3
                write(directory, mesh_ca.issue(spiffe("web")), mesh_ca)
                eventually("taken", lambda: rotations(web) == 4 and certs(web)["failure"] == "", SOON)
            assert caller.failures == []
            assert len(caller.seen) > 20

    # It waits for the end of a certificate.
    @pytest.mark.timeout(120)
    def test_a_stream_ends_with_the_certificate_that_it_began_with_and_calls_go_on(self, tmp_path: Path) -> None:
        directory = tmp_path / "files"
        with http2.scripted_server(beginning) as server, Mesh(tmp_path) as mesh:
            cli(mesh, "ca", "create")
            mesh_ca = Issuer.of(state(mesh))
            mesh.document("services/orders", protocol="http2", timeout="0s")
            orders = mesh.sidecar("orders", int(server.address.rpartition(":")[2]))
            mesh.document("services/orders", protocol="http2", timeout="0s", endpoints=[{"address": orders.inbound}])
            write(directory, mesh_ca.issue(spiffe("web")), mesh_ca)
            web = mesh.sidecar("web", 1, "--identity", f"files:{directory}")
            write(directory, mesh_ca.issue(spiffe("web"), ends=timedelta(seconds=25)), mesh_ca)
            eventually("a short life", lambda: rotations(web) == 1, SOON)
            with Http2.connect(web.outbound) as client:
                stream = client.request(Request(host="orders"))
                client.until(lambda: bytes(stream.body) == b"first", stream)
                write(directory, mesh_ca.issue(spiffe("web")), mesh_ca)
                eventually("a long one", lambda: rotations(web) == 2, SOON)
                assert client.ask(Request("GET", "/short", "orders")).body == b"tea"
                # Calls have gone over to the next certificate; the stream is where it was, until its own ends.
                assert reasons(orders) == set()
                eventually("ended", lambda: "certificate-ended" in reasons(orders), 2 * SOON)
                client.until(lambda: stream.reset is not None, stream)
                assert client.ask(Request("GET", "/short", "orders")).body == b"tea"

    # It waits for the grace of those who are let go.
    @pytest.mark.timeout(150)
    def test_who_has_only_a_root_that_was_removed_is_let_go_and_all_others_stay(self, tmp_path: Path) -> None:
        old, new = Issuer.called("old"), Issuer.called("new")
        identity = {name: ("--identity", f"files:{tmp_path / name}") for name in ("orders", "web", "kept")}
        for name, issuer in (("orders", new), ("web", old), ("kept", new)):
            write(tmp_path / name, issuer.issue(spiffe(name)), old, new)
        with http2.scripted_server(beginning) as server, Mesh(tmp_path) as mesh:
            mesh.document("services/orders", protocol="http2", timeout="0s")
            orders = mesh.sidecar("orders", int(server.address.rpartition(":")[2]), *identity["orders"])
            mesh.document("services/orders", protocol="http2", timeout="0s", endpoints=[{"address": orders.inbound}])
            web, kept = (mesh.sidecar(name, 1, *identity[name]) for name in ("web", "kept"))
            with Http2.connect(web.outbound) as client, Http2.connect(kept.outbound) as other:
                leaving, staying = client.request(Request(host="orders")), other.request(Request(host="orders"))
                client.until(lambda: bytes(leaving.body) == b"first", leaving)
                other.until(lambda: bytes(staying.body) == b"first", staying)
                write(tmp_path / "orders", new.issue(spiffe("orders")), new)
                eventually("one root", lambda: len(certs(orders)["roots"]) == 1, SOON)
                # At once: nothing new on the connection that is open, and no other one.
                short = Request("GET", "/short", "orders")
                eventually("refused", lambda: client.ask(short).status == 503, SOON)
                assert "certificate-ended" not in reasons(orders)
                assert other.ask(short).body == b"tea"
                # After the grace: the end of what was on it.
                ended = eventually("ended", lambda: ends(orders), 2 * SOON)
                assert f"seen {spiffe('web')}: no trusted authority has signed it, its issuer is CN=old" in ended[0]
                assert len(ended) == 1
                client.until(lambda: leaving.reset is not None, leaving)
                assert other.ask(short).body == b"tea"
                assert staying.reset is None


def beginning(peer: Http2) -> None:
    """Answers /short; all other answers have a beginning and no end."""
    while True:
        stream = peer.next_stream()
        if peer.take(stream).path == "/short":
            peer.give(stream, Answer(200, sized(b"tea"), b"tea"))
            continue
        peer.respond(stream)
        peer.data(stream, b"first")


def ends(proxy: Proxy) -> list[str]:
    """What is said of each exchange that ended with a certificate."""
    told = json.loads(proxy.get("/api/v1/failures?limit=1000")[1])["failures"]
    return [failure["detail"] for failure in told if failure["reason"] == "certificate-ended"]


@pytest.fixture
def agent() -> Iterator[workload_api.Agent]:
    with tempfile.TemporaryDirectory() as short, workload_api.agent(Path(short)) as serving:
        yield serving


class TestWorkloadApi:
    def test_identities_come_from_the_agent_and_change_when_it_says_so(
        self, tmp_path: Path, agent: workload_api.Agent
    ) -> None:
        with application("tea") as app, Mesh(tmp_path) as mesh:
            cli(mesh, "ca", "create")
            mesh_ca = Issuer.of(state(mesh))
            others = {"spiffe://mesh.local/backup": mesh_ca.issue("spiffe://mesh.local/backup")}
            agent.tell({**others, spiffe("web"): mesh_ca.issue(spiffe("web"))}, mesh_ca)
            _, web = pair(mesh, app, "--identity", f"spire:{agent.address}")
            with Caller(web.outbound, "orders") as caller:
                agent.tell({spiffe("web"): mesh_ca.issue(spiffe("web"))}, mesh_ca)
                eventually("taken", lambda: rotations(web) == 1, SOON)
                # One that is not ours, an agent that restarts, and ours again.
                agent.tell(others, mesh_ca)
                eventually(
                    "refused", lambda: "it knows us as spiffe://mesh.local/backup" in certs(web)["failure"], SOON
                )
                agent.hang_up()
                agent.tell({spiffe("web"): mesh_ca.issue(spiffe("web"))}, mesh_ca)
                eventually("taken", lambda: rotations(web) == 2 and certs(web)["failure"] == "", SOON)
            assert caller.failures == []
            assert agent.calls >= 2


def test_no_key_is_in_any_output(tmp_path: Path) -> None:
    directory = tmp_path / "files"
    with application("tea") as app, Mesh(tmp_path) as mesh:
        cli(mesh, "ca", "create")
        mesh_ca = Issuer.of(state(mesh))
        shown = mesh_ca.issue(spiffe("web"))
        write(directory, shown, mesh_ca)
        both = pair(mesh, app, "--identity", f"files:{directory}", "--log-level", "debug")
        assert call(both[1].outbound, "orders") == (200, "tea")
        paths = ["/ready", "/metrics", *(f"/api/v1/{name}" for name in ("config", "clusters", "failures", "certs"))]
        said = [proxy.get(path)[1] for proxy in both for path in paths]
        said += [cli(mesh, "certs", "-o", "json"), cli(mesh, "ca", "show"), cli(mesh, "ca", "show", "-o", "pem")]
        said += [
            Path(f"/proc/{proxy.process.pid}/{part}").read_text() for proxy in both for part in ("cmdline", "environ")
        ]
        said += [proxy.output() for proxy in both]
        # Where a key may be, it is for us alone.
        held = [path for path in state(mesh).rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert held
    assert {path.stat().st_mode & 0o777 for path in held} == {0o600}
    for key in (shown.key, mesh_ca.key):
        number = key.private_numbers().private_value.to_bytes(32, "big")
        pem = [line for line in Pair(key, shown.certificate).key_pem().decode().splitlines() if "-" not in line]
        for form in (number.hex(), b64encode(number).decode().rstrip("="), *pem):
            assert not any(form in text for text in said)
    assert not any("PRIVATE KEY" in text for text in said)
