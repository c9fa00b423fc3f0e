"""Consul's intentions, on a real agent: what it says itself is what happens, at once, also to what is open."""

import asyncio
import json
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from http.client import HTTPException
from itertools import chain, combinations
from pathlib import Path

import grpc
import grpc.aio
import pytest

from tests.mesh import Mesh, Proxy, eventually, told
from tests.peers import scripted
from tests.peers.grpc_app import calling, grpc_app
from tests.peers.scripted import ScriptedServer
from tests.real.callers import application, call
from tests.real.conftest import DENY
from tests.real.consul_agent import Agent, running
from tests.real.programs import free_port
from tests.real.test_authorities import cli
from tests.real.test_consul_acl import policy, token

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

# Seconds.
SOON = 30.0
ROUNDS = 9


@pytest.fixture
def mesh(consul_mesh: Mesh) -> Mesh:
    """Here all is on Consul."""
    return consul_mesh


def intend(agent: Agent, destination: str, **sources: object) -> None:
    """Write the intentions of a destination: by source "allow", "deny" or permissions. `any_` is every source."""
    listed = [
        {"Name": "*" if name == "any_" else name, "Action" if isinstance(said, str) else "Permissions": said}
        for name, said in sources.items()
    ]
    if not listed:
        agent.delete(f"/v1/config/service-intentions/{destination}")
        return
    agent.put("/v1/config", {"Kind": "service-intentions", "Name": destination, "Sources": listed})


def speaks(agent: Agent, service: str, protocol: str) -> None:
    agent.put("/v1/config", {"Kind": "service-defaults", "Name": service, "Protocol": protocol})


def answers(proxy: Proxy, status: int, path: str = "/", **headers: str) -> bool:
    """Whether a call is answered so; one that a change of the intentions has cut half-way is not."""
    try:
        return call(proxy.outbound, "orders", path, headers)[0] == status
    except (ConnectionError, HTTPException):
        return False


def stays(probe: Callable[[], bool]) -> bool:
    """Whether it holds several times in a row."""
    return all(probe() for _ in range(3))


def test_each_set_of_intentions_has_the_outcome_that_consul_tells(agent: Agent, mesh: Mesh) -> None:
    """Every subset of four intentions of different precedence, for two callers."""
    speaks(agent, "orders", "http")
    possible = [("orders", "web", "deny"), ("orders", "any_", "allow"), ("*", "web", "allow"), ("*", "any_", "deny")]
    with application("orders") as port:
        mesh.sidecar("orders", port)
        callers = {name: mesh.sidecar(name, 1) for name in ("web", "other")}
        for name in callers:
            eventually("a first call", partial(answers, callers[name], 200), SOON)
        outcomes = set()
        for chosen in chain.from_iterable(combinations(possible, size) for size in range(len(possible) + 1)):
            for destination in ("orders", "*"):
                intend(agent, destination, **{source: said for to, source, said in chosen if to == destination})
            for name, proxy in callers.items():
                path = f"/v1/connect/intentions/check?source={name}&destination=orders"
                allowed = agent.get(path)["Allowed"]
                outcomes.add((name, allowed))
                expected = 200 if allowed else 403
                eventually(f"{name} with {chosen}: {expected}", partial(answers, proxy, expected), SOON)
    assert len(outcomes) == 4, "each caller is to be allowed and refused"


def test_permissions_decide_by_path_method_and_header(agent: Agent, mesh: Mesh) -> None:
    speaks(agent, "orders", "http")
    permissions = [
        {"Action": "deny", "HTTP": {"PathPrefix": "/api/secret"}},
        {"Action": "allow", "HTTP": {"PathPrefix": "/api/", "Methods": ["GET"]}},
        {"Action": "allow", "HTTP": {"PathRegex": "/v[0-9]+/.*", "Header": [{"Name": "x-team", "Exact": "a"}]}},
        {"Action": "allow", "HTTP": {"PathExact": "/health"}},
        *({"Action": "deny", "HTTP": {"PathPrefix": beginning}} for beginning in ("/v", "/h")),
    ]
    intend(agent, "orders", web=permissions, any_="deny")
    with application("orders") as port:
        orders, web, other = mesh.sidecar("orders", port), mesh.sidecar("web", 1), mesh.sidecar("other", 1)
        eventually("a first call", partial(answers, web, 200, "/api/x"), SOON)
        assert answers(web, 403, "/api/secrets")
        assert answers(web, 200, "/health")
        assert answers(web, 403, "/healthy")
        assert answers(web, 200, "/v2/x", **{"x-team": "a"})
        assert answers(web, 403, "/v2/x", **{"x-team": "b"})
        eventually("other is refused", partial(answers, other, 403, "/health"), SOON)
        # No permission takes it, and without ACLs the default is to allow.
        assert answers(web, 200, "/other")

        status, body = call(web.outbound, "orders", "/api/secrets")
        domain = agent.get("/v1/agent/connect/ca/roots")["TrustDomain"]
        assert status == 403
        assert f"spiffe://{domain}/ns/default/dc/dc1/svc/web is refused by intention web → orders" in body
        assert "(precedence 9), permission 1" in body
        assert told(orders)["authorization"] == "2 intentions, by default allow"
        intend(agent, "orders", web=permissions[1:])
        eventually("the deny is gone", partial(answers, web, 200, "/api/secrets"), SOON)


def test_what_is_suggested_from_traffic_allows_that_and_nothing_else(agent: Agent, mesh: Mesh) -> None:
    speaks(agent, "orders", "http")
    agent.document("services/orders", allow_candidate=[])
    with application("orders") as port:
        mesh.sidecar("orders", port)
        web, batch = mesh.sidecar("web", 1), mesh.sidecar("batch", 1)
        eventually("it answers", partial(answers, web, 200), SOON)

        def observed() -> str:
            assert answers(web, 200)
            return cli(mesh, "intentions", "suggest", "--service", "orders")

        entry = json.loads(eventually("traffic was observed", observed, SOON))
        assert [source["Name"] for source in entry["Sources"]] == ["web", "*"]
        agent.put("/v1/config", entry)
        eventually("others are refused", partial(answers, batch, 403), SOON)
        assert answers(web, 200)


def test_a_token_that_is_asked_for_denies_and_says_so(agent: Agent, mesh: Mesh) -> None:
    speaks(agent, "orders", "http")
    jwks = {"Local": {"JWKS": "eyJrZXlzIjpbXX0="}}
    agent.put("/v1/config", {"Kind": "jwt-provider", "Name": "okta", "Issuer": "x", "JSONWebKeySet": jwks})
    sources = [{"Name": "web", "Action": "allow"}]
    entry = {"Kind": "service-intentions", "Name": "orders", "Sources": sources}
    agent.put("/v1/config", {**entry, "JWT": {"Providers": [{"Name": "okta"}]}})
    with application("orders") as port:
        mesh.sidecar("orders", port)
        web = mesh.sidecar("web", 1)
        eventually("it is refused", partial(answers, web, 403), SOON)
        assert "asks for a JSON Web Token of okta" in call(web.outbound, "orders")[1]


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[tuple[Agent, Mesh]]:
    """An agent whose default is to deny, and a mesh on it."""
    with running(tmp_path / "strict", DENY, "root") as agent, Mesh(tmp_path, agent.address) as mesh:
        yield agent, mesh


def test_by_default_nobody_may_where_acls_deny_and_the_documented_rights_are_enough(
    strict: tuple[Agent, Mesh],
) -> None:
    agent, mesh = strict
    agent.put("/v1/config", {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}})
    rules = policy("sidecar")
    with application("orders") as port:
        rights = {"CONSUL_HTTP_TOKEN": token(agent, rules)}
        orders = mesh.sidecar("orders", port, environ=rights)
        rights = {"CONSUL_HTTP_TOKEN": token(agent, rules.replace("orders", "web"))}
        web = mesh.sidecar("web", 1, environ=rights)
        eventually("it is refused", partial(answers, web, 403), SOON)
        assert "the default intention policy, deny" in call(web.outbound, "orders")[1]
        assert told(orders)["authorization"] == "0 intentions, by default deny"
        assert "missing_rights" not in told(orders)

        intend(agent, "orders", web="allow")
        eventually("it is allowed", partial(answers, web, 200), SOON)
        # Of an intention that speaks of everybody the default cannot be told, and what no permission takes is refused.
        intend(agent, "orders", any_=[{"Action": "allow", "HTTP": {"PathExact": "/a"}}])
        eventually("only that path", lambda: answers(web, 200, "/a") and answers(web, 403, "/b"), SOON)


def test_intentions_hold_while_consul_is_away_and_at_a_start_without_it(
    agent: Agent, mesh: Mesh, tmp_path: Path
) -> None:
    speaks(agent, "orders", "http")
    intend(agent, "orders", web=[{"Action": "deny", "HTTP": {"PathExact": "/no"}}])
    with application("orders") as port:
        inbound = free_port()
        orders = mesh.sidecar("orders", port, "--inbound-port", str(inbound))
        web = mesh.sidecar("web", 1)
        eventually("it is refused", lambda: answers(web, 403, "/no") and answers(web, 200), SOON)
        worlds = partial((tmp_path / "state/last-good").glob, "sidecar-orders-*.world")
        eventually("they are kept", lambda: any('"/no"' in world.read_text() for world in worlds()), SOON)
        agent.stop()
        assert stays(lambda: answers(web, 403, "/no") and answers(web, 200))
        orders.kill()
        mesh.sidecar("orders", port, "--inbound-port", str(inbound))
        eventually("it serves", partial(answers, web, 200), SOON)
        assert answers(web, 403, "/no")
        agent.start()


async def test_open_streams_and_connections_follow_within_a_second(
    agent: Agent, mesh: Mesh, note: Callable[[str], None]
) -> None:
    """Measured too: from the write of an intention until it is enforced, on new calls and on what is open."""
    speaks(agent, "orders", "grpc")

    def echo(peer: socket.socket) -> None:
        while data := peer.recv(100):
            peer.sendall(data)

    with ExitStack() as stack:
        app = stack.enter_context(grpc_app())
        server = stack.enter_context(ScriptedServer(lambda connection: connection, echo))
        mesh.sidecar("orders", app.port)
        mesh.sidecar("db", server.port)
        speaks(agent, "db", "tcp")
        agent.document("services/web", upstreams=[{"service": "db", "port": free_port()}])
        agent.document("services/kept", upstreams=[{"service": "db", "port": free_port()}])
        web, kept = mesh.sidecar("web", 1), mesh.sidecar("kept", 1)
        took: dict[str, list[float]] = {"new calls": [], "open streams": [], "open connections": []}
        async with calling(web.outbound, "orders") as stub, calling(kept.outbound, "orders") as other:
            staying = other.conversation()
            await staying.write(b"a")
            assert await staying.read() == b"A"
            line = stack.enter_context(closing(scripted.connect(kept.listeners["upstream-db"])))
            line.sendall(b"b")
            assert line.recv(10) == b"b"
            for _ in range(ROUNDS):
                await allowed(stub.unary)
                open_stream = stub.conversation()
                await open_stream.write(b"a")
                assert await open_stream.read() == b"A"
                connection = await asyncio.to_thread(connected, web)
                with closing(connection):
                    began = time.monotonic()
                    intend(agent, "*", web="deny")
                    waits = asyncio.to_thread(broken_at, connection)
                    new, code, broken = await asyncio.gather(refused_at(stub.unary), ended_at(open_stream), waits)
                took["new calls"].append(new - began)
                took["open streams"].append(code - began)
                took["open connections"].append(broken - began)
                intend(agent, "*")
            # Nobody who is still allowed has lost anything.
            await staying.write(b"z")
            assert await staying.read() == b"Z"
            line.sendall(b"y")
            assert line.recv(10) == b"y"
    for what, seconds in took.items():
        milliseconds = [round(1000 * each) for each in seconds]
        note(f"intention → enforced on {what}: p50 {statistics.median(milliseconds)} ms, max {max(milliseconds)} ms")


Unary = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]


async def code_of(method: Unary) -> grpc.StatusCode:
    try:
        await method(b"", timeout=SOON)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def allowed(method: Unary) -> None:
    """Wait until calls are answered."""
    async with asyncio.timeout(SOON):
        while await code_of(method) is not grpc.StatusCode.OK:
            await asyncio.sleep(0.01)


async def refused_at(method: Unary) -> float:
    """When a new call is first refused."""
    async with asyncio.timeout(SOON):
        while await code_of(method) is not grpc.StatusCode.PERMISSION_DENIED:
            await asyncio.sleep(0.001)
    return time.monotonic()


async def ended_at(call: grpc.aio.StreamStreamCall[bytes, bytes]) -> float:
    """When the stream is ended, for that reason."""
    async with asyncio.timeout(SOON):
        assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "is refused by intention web → *" in (await call.details() or "")
    return time.monotonic()


def connected(web: Proxy) -> socket.socket:
    """A connection to db that carries bytes."""

    def open_one() -> socket.socket | None:
        connection = scripted.connect(web.listeners["upstream-db"])
        try:
            connection.sendall(b"x")
            if connection.recv(10) == b"x":
                return connection
        except ConnectionError:
            pass
        connection.close()
        return None

    return eventually("a connection to db", open_one, SOON)


def broken_at(connection: socket.socket) -> float:
    """When the connection breaks."""
    with pytest.raises(ConnectionResetError):
        connection.recv(10)
    return time.monotonic()
