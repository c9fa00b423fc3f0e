"""Redis through two sidecars; Consul's services of protocol tcp, its own proxy at either side of ours, its probes."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.mesh import Mesh, Proxy, eventually
from tests.peers import scripted
from tests.peers.scripted import ScriptedServer
from tests.real.callers import application, call
from tests.real.consul_agent import VERSION, Agent
from tests.real.programs import cached, debian, free_port, serving

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

# Seconds; far above what any change here takes on a quiet machine.
SOON = 20.0
# Longer than every buffer on the way.
VALUE = b"0123456789abcdef" * (1 << 16)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the application beside one sidecar reaches the Redis beside another one."""
    directory, port = tmp_path_factory.mktemp("redis"), free_port()
    command = [
        debian("redis-server"),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(directory),
    ]
    with serving(command, port, directory / "redis.log"), Mesh(directory) as mesh:
        mesh.document("services/redis", protocol="tcp")
        server = mesh.sidecar("redis", port)
        mesh.document("services/redis", protocol="tcp", endpoints=[{"address": server.inbound}])
        mesh.document("services/web", upstreams=[{"service": "redis", "port": free_port()}])
        yield mesh.sidecar("web", 1).listeners["upstream-redis"]


def redis_cli(address: str, *arguments: str, stdin: bytes = b"") -> bytes:
    """What Redis's own client prints."""
    command = [debian("redis-cli"), "-h", "127.0.0.1", "-p", address.rpartition(":")[2], *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_redis_answers_its_own_client(redis: str) -> None:
    assert redis_cli(redis, "PING") == b"PONG\n"
    assert redis_cli(redis, "-x", "SET", "large", stdin=VALUE) == b"OK\n"
    assert redis_cli(redis, "GET", "large") == VALUE + b"\n"


def test_redis_takes_a_mass_of_commands_at_once(redis: str) -> None:
    commands = b"".join(b"INCR count\r\n" for _ in range(10_000))
    assert b"errors: 0, replies: 10000" in redis_cli(redis, "--pipe", stdin=commands)
    assert redis_cli(redis, "GET", "count") == b"10000\n"


def test_redis_speaks_when_it_has_something_to_say(redis: str) -> None:
    with closing(scripted.connect(redis)) as listener:
        listener.sendall(b"SUBSCRIBE news\r\n")
        assert b"subscribe" in listener.recv(1000)
        assert redis_cli(redis, "PUBLISH", "news", "tea") == b"1\n"
        assert b"tea" in listener.recv(1000)


@pytest.fixture
def greeter() -> Iterator[ScriptedServer[socket.socket]]:
    """An application that speaks first, and then says everything again."""

    def script(peer: socket.socket) -> None:
        peer.sendall(b"hello\n")
        while data := peer.recv(65536):
            peer.sendall(data)

    with ScriptedServer(lambda connection: connection, script) as server:
        yield server


def greets(address: str) -> bool:
    """Probe: the greeter is at the other end."""
    try:
        with closing(scripted.connect(address)) as client:
            client.settimeout(2)
            if client.recv(100) != b"hello\n":
                return False
            client.sendall(b"again")
            return client.recv(100) == b"again"
    except OSError:
        return False


def register(agent: Agent, service: str, app_port: int, inbound: int, **proxy: object) -> None:
    """A service and its proxy, as an agent's definition would have them."""
    agent.put("/v1/agent/service/register", {"ID": f"{service}-1", "Name": service, "Port": app_port})
    told = {
        "DestinationServiceName": service,
        "DestinationServiceID": f"{service}-1",
        "LocalServicePort": app_port,
        **proxy,
    }
    name = f"{service}-1-proxy"
    agent.put(
        "/v1/agent/service/register",
        {"ID": name, "Name": f"{service}-proxy", "Kind": "connect-proxy", "Port": inbound, "Proxy": told},
    )


def speaks_tcp(agent: Agent, *services: str) -> None:
    for service in services:
        agent.put("/v1/config", {"Kind": "service-defaults", "Name": service, "Protocol": "tcp"})


def test_consul_says_that_a_service_speaks_tcp(
    agent: Agent, consul_mesh: Mesh, greeter: ScriptedServer[socket.socket]
) -> None:
    speaks_tcp(agent, "db")
    consul_mesh.sidecar("db", greeter.port)
    upstream = free_port()
    register(agent, "web", 1, free_port(), Upstreams=[{"DestinationName": "db", "LocalBindPort": upstream}])
    consul_mesh.start("web", "run", "--sidecar-for", "web-1", "--outbound-port", "0", environ={})
    eventually("the greeting", partial(greets, f"127.0.0.1:{upstream}"), SOON)


def test_a_service_whose_protocol_nobody_says_takes_bytes_and_requests(
    agent: Agent, consul_mesh: Mesh, greeter: ScriptedServer[socket.socket]
) -> None:
    db, orders = free_port(), free_port()
    with application("orders") as port:
        consul_mesh.sidecar("db", greeter.port)
        consul_mesh.sidecar("orders", port)
        upstreams = {"db": db, "orders": orders}
        told = [{"DestinationName": name, "LocalBindPort": local} for name, local in upstreams.items()]
        register(agent, "web", 1, free_port(), Upstreams=told)
        web = consul_mesh.start("web", "run", "--sidecar-for", "web-1", "--outbound-port", "0", environ={})
        eventually("the greeting", partial(greets, f"127.0.0.1:{db}"), SOON)
        eventually("a request by a port", lambda: call(f"127.0.0.1:{orders}", "any") == (200, "orders"), SOON)
        eventually("a request by name", lambda: call(web.outbound, "orders") == (200, "orders"), SOON)


@contextmanager
def consul_proxy(agent: Agent, directory: Path, *arguments: str) -> Iterator[None]:
    """Consul's own proxy, which passes connections on."""
    command = [cached(VERSION, "consul"), "connect", "proxy", f"-http-addr={agent.address}", *arguments]
    with (directory / "proxy.log").open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def test_consuls_proxy_calls_ours(
    agent: Agent, consul_mesh: Mesh, greeter: ScriptedServer[socket.socket], tmp_path: Path
) -> None:
    speaks_tcp(agent, "db")
    db = consul_mesh.sidecar("db", greeter.port)
    upstream = free_port()
    with consul_proxy(agent, tmp_path, "-service=web", f"-upstream=db:{upstream}"):
        eventually("the greeting", partial(greets, f"127.0.0.1:{upstream}"), SOON)
    line = eventually("its line", lambda: [line for line in db.output().splitlines() if '"protocol":"TCP"' in line])[-1]
    assert "/svc/web" in line


def test_ours_calls_consuls_proxy(
    agent: Agent, consul_mesh: Mesh, greeter: ScriptedServer[socket.socket], tmp_path: Path
) -> None:
    speaks_tcp(agent, "db")
    register(agent, "db", greeter.port, free_port())
    upstream = free_port()
    register(agent, "web", 1, free_port(), Upstreams=[{"DestinationName": "db", "LocalBindPort": upstream}])
    with consul_proxy(agent, tmp_path, "-sidecar-for=db-1"):
        consul_mesh.start("web", "run", "--sidecar-for", "web-1", "--outbound-port", "0", environ={})
        eventually("the greeting", partial(greets, f"127.0.0.1:{upstream}"), SOON)


def test_a_probe_reaches_the_paths_that_are_exposed_and_no_other(agent: Agent, consul_mesh: Mesh) -> None:
    first, second = free_port(), free_port()
    with application("web") as port:

        def expose(listener: int) -> None:
            path = {"Path": "/health", "LocalPathPort": port, "ListenerPort": listener, "Protocol": "http"}
            register(agent, "web", port, inbound, Expose={"Paths": [path]})

        inbound = free_port()
        expose(first)
        web = consul_mesh.start("web", "run", "--sidecar-for", "web-1", "--outbound-port", "0", environ={})
        assert web.listeners[f"exposed-{first}"] == f"0.0.0.0:{first}"
        assert get(first, "/health") == (200, "web")
        assert [get(first, path)[0] for path in ("/", "/health/x", "/admin")] == [404, 404, 404]

        # An agent's own check by that port, and another port when the registration changes.
        check = {"HTTP": f"http://127.0.0.1:{first}/health", "Interval": "1s", "Name": "probe", "ID": "probe"}
        agent.put("/v1/agent/check/register", {**check, "ServiceID": "web-1"})
        eventually("the check passes", lambda: agent.get("/v1/agent/checks")["probe"]["Status"] == "passing", SOON)
        expose(second)
        eventually("the port has moved", lambda: answers(second), SOON)

        # Whichever way the service itself is reached.
        for mode, words in (("permissive", "everybody may call web without TLS"), ("disabled", "nobody proves a name")):
            agent.document("services/web", protocol="http", tls=mode)
            eventually(mode, partial(says, web, words), SOON)
            assert get(second, "/health") == (200, "web")
            assert get(second, "/admin")[0] == 404
            assert get(inbound, "/admin") == (200, "web")


def get(port: int, path: str) -> tuple[int, str]:
    return call(f"127.0.0.1:{port}", "probe", path)


def says(proxy: Proxy, words: str) -> bool:
    return words in proxy.get("/ready")[1]


def answers(port: int) -> bool:
    try:
        return get(port, "/health") == (200, "web")
    except OSError:
        return False
