"""Sidecars and a gateway on real Consul: registration, calls, changes, and standing when Consul falls."""

import os
import ssl
import statistics
import time
from collections.abc import Callable
from concurrent import futures
from functools import partial
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from tests.mesh import LOOPBACK, Mesh, Proxy, eventually, told
from tests.real.callers import Caller, application, call
from tests.real.consul_agent import Agent
from tests.real.programs import free_port

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

# Seconds. A change of Consul is routed on within 200 ms on a quiet machine; the rest is for a busy one.
SOON = 10.0


def registered(agent: Agent, service: str, kind: str = "connect") -> list[str]:
    """The states of the instances that callers in the mesh would find; those of a gateway are of kind "service"."""
    entries = agent.get(f"/v1/health/{kind}/{service}")
    return [max((check["Status"] for check in entry["Checks"]), key="passing critical".find) for entry in entries]


def reaches(proxy: Proxy, host: str, body: str) -> Callable[[], bool]:
    """Probe: the application beside `proxy` gets `body` from `host`."""
    return lambda: call(proxy.outbound, host) == (200, body)


def in_contact(proxy: Proxy) -> bool:
    """Probe: Consul answers it."""
    return bool(told(proxy)["stale_seconds"] == 0)


def test_two_services_call_each_other_with_nothing_written(agent: Agent, consul_mesh: Mesh) -> None:
    with application("orders") as port:
        orders = consul_mesh.sidecar("orders", port)
        web = consul_mesh.sidecar("web", 1)
        eventually("orders is passing", lambda: registered(agent, "orders") == ["passing"], SOON)

        assert eventually("a call", reaches(web, "orders", "orders"), SOON)
        assert reaches(web, "orders.service.consul", "orders")()

    # The one that shows itself has its name from Consul's CA.
    shown = x509.load_der_x509_certificate(certificate_of(orders.inbound))
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    domain = agent.get("/v1/agent/connect/ca/roots")["TrustDomain"]
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == [f"spiffe://{domain}/ns/default/dc/dc1/svc/orders"]
    assert told(web)["registration"] == "registered"
    assert "every verified peer of the mesh may call web" in str(told(web)["authorization"])
    assert "every verified peer of the mesh may call web" in web.output()


def certificate_of(address: str) -> bytes:
    """What a listener shows, as DER; it is not verified here."""
    host, _, port = address.rpartition(":")
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, int(port))))


def test_names_that_no_host_can_have_are_named_and_take_nothing_else_away(agent: Agent, consul_mesh: Mesh) -> None:
    for name in ("a b", "a/b", "50%", "a?b#c", 'q"q', "app"):
        agent.put("/v1/agent/service/register", {"Name": name, "Port": 7})
    with application("stock") as port:
        consul_mesh.sidecar("Stock_v2", port)
        web = consul_mesh.sidecar("web", 1)
        eventually("a call", reaches(web, "stock_v2.service.consul", "stock"), SOON)
        assert call(web.outbound, "app")[0] == 404
    said = web.get("/api/v1/config")[1]
    assert "service 'a b': no request can be led to it" in said
    assert "service 'app': no request can be led to it" in said


def test_a_gateway_needs_its_document_only(agent: Agent, consul_mesh: Mesh) -> None:
    agent.document("gateways/edge", listeners=[LOOPBACK], routes=[{"name": "all", "to": {"service": "orders"}}])
    with application("orders") as port:
        consul_mesh.sidecar("orders", port)
        edge = consul_mesh.gateway("edge")

        assert eventually("a call", lambda: call(edge.edge, "shop.example.com") == (200, "orders"), SOON)
    assert "edge" in agent.get("/v1/catalog/services")


def test_a_gateway_waits_for_its_document(agent: Agent, consul_mesh: Mesh) -> None:
    edge = consul_mesh.gateway("edge")
    assert edge.listeners == {}
    assert told(edge)["document"] == "there is none for the gateway edge yet, so it listens nowhere"

    port = free_port()
    listener = {"address": "127.0.0.1", "port": port}
    agent.document("gateways/edge", listeners=[listener], routes=[{"name": "all", "to": {"service": "orders"}}])

    def answers() -> bool:
        try:
            return call(f"127.0.0.1:{port}", "shop.example.com")[0] == 503
        except OSError:
            return False

    eventually("the listener answers", answers, SOON)


def test_a_key_moves_the_traffic(agent: Agent, consul_mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    subsets = {f"v{n}": {"where": f'meta.version == "{n}"'} for n in (1, 2)}
    with application("one") as one, application("two") as two:
        for version, port in (("1", one), ("2", two)):
            consul_mesh.sidecar("orders", port, "--meta", f"version={version}")
        web = consul_mesh.sidecar("web", 1)
        took = []
        for turn in range(11):
            subset, answer = (("v1", "one"), ("v2", "two"))[turn % 2]
            started = time.monotonic()
            route = {"name": "all", "to": {"subset": subset}}
            agent.document("services/orders", protocol="http", subsets=subsets, routes=[route])
            eventually(f"routed to {subset}", reaches(web, "orders", answer), SOON)
            took.append(time.monotonic() - started)
    # The first one waits for endpoints that nobody has asked for before.
    with capsys.disabled():
        print(f"\nkv put → routed: p50 {statistics.median(took[1:]) * 1000:.0f} ms, max {max(took[1:]) * 1000:.0f} ms")


def test_another_service_takes_over_with_its_own_identity_and_gives_back(agent: Agent, consul_mesh: Mesh) -> None:
    for service in ("orders", "backup"):
        agent.put("/v1/config", {"Kind": "service-defaults", "Name": service, "Protocol": "http"})
    resolver = {"Kind": "service-resolver", "Name": "orders", "Failover": {"*": {"Targets": [{"Service": "backup"}]}}}
    agent.put("/v1/config", resolver)
    first = free_port()
    with application("backup") as port:
        consul_mesh.sidecar("backup", port)
        consul_mesh.sidecar("orders", first)
        web = consul_mesh.sidecar("web", 1)
        eventually("nobody of orders is healthy", lambda: registered(agent, "orders") == ["critical"], SOON)
        eventually("the other one answers", reaches(web, "orders", "backup"), SOON)

        with application("orders", first):
            eventually("orders answers", reaches(web, "orders", "orders"), SOON)
        eventually("the other one answers again", reaches(web, "orders", "backup"), 2 * SOON)
    assert "not_carried_out" not in told(web)


def test_a_router_of_consul_leads_by_expression_and_header(agent: Agent, consul_mesh: Mesh) -> None:
    for service in ("orders", "beta"):
        agent.put("/v1/config", {"Kind": "service-defaults", "Name": service, "Protocol": "http"})
    matches = [{"PathRegex": "/v[0-9]+"}, {"Header": [{"Name": "x-beta", "Suffix": "-on"}]}]
    routes = [{"Match": {"HTTP": match}, "Destination": {"Service": "beta"}} for match in matches]
    agent.put("/v1/config", {"Kind": "service-router", "Name": "orders", "Routes": routes})
    with application("orders") as orders, application("beta") as beta:
        consul_mesh.sidecar("orders", orders)
        consul_mesh.sidecar("beta", beta)
        web = consul_mesh.sidecar("web", 1)

        def answer(path: str, **headers: str) -> str:
            return call(web.outbound, "orders", path, headers)[1]

        eventually("the rest is led to itself", lambda: answer("/") == "orders", SOON)
        eventually("a path", lambda: answer("/v12?x=1") == "beta", SOON)
        assert answer("/v12/x") == "orders"
        assert answer("/", **{"x-beta": "all-on"}) == "beta"
        assert answer("/", **{"x-beta": "all-on-"}) == "orders"


def test_an_instance_that_ends_is_not_called_any_more_and_nobody_notices(
    agent: Agent, consul_mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    with application("stays") as stays, application("goes") as goes:
        consul_mesh.sidecar("orders", stays)
        going = consul_mesh.sidecar("orders", goes)
        web = consul_mesh.sidecar("web", 1)
        eventually("both are passing", lambda: registered(agent, "orders") == ["passing"] * 2, SOON)
        eventually("the last one answers", reaches(web, "orders", "goes"), SOON)
        with Caller(web.outbound, "orders") as caller:
            eventually("both answer", lambda: {one.body for one in caller.seen} == {"stays", "goes"}, SOON)
            asked = time.monotonic()
            assert going.stop() == 0
            ended = time.monotonic()
            eventually("calls after it", lambda: len(caller.since(ended)) > 20, SOON)
        assert caller.failures == []
        assert {one.body for one in caller.since(ended)} == {"stays"}
        last = max(one.at for one in caller.seen if one.body == "goes")
        with capsys.disabled():
            print(f"\nSIGTERM → last call to it: {max(0.0, last - asked) * 1000:.0f} ms")


def test_the_health_of_the_application_is_the_gate(agent: Agent, consul_mesh: Mesh) -> None:
    port = free_port()
    consul_mesh.sidecar("orders", port)
    eventually("registered and critical", lambda: registered(agent, "orders") == ["critical"], SOON)

    with application("orders", port):
        eventually("passing", lambda: registered(agent, "orders") == ["passing"], SOON)
    eventually("critical", lambda: registered(agent, "orders") == ["critical"], SOON)


def test_a_grpc_application_says_its_health_itself(agent: Agent, consul_mesh: Mesh) -> None:
    # HealthCheckResponse of grpc.health.v1: its only field, `status`, is 1 for SERVING and 2 for NOT_SERVING.
    answer, asked = [b"\x08\x02"], set[bytes]()

    def check(request: bytes, _: grpc.ServicerContext) -> bytes:
        asked.add(request)
        return answer[0]

    server = grpc.server(futures.ThreadPoolExecutor(2))
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        consul_mesh.sidecar("orders", port, "--check", "grpc/shop.v1.Orders")
        eventually("asked and critical", lambda: asked and registered(agent, "orders") == ["critical"], SOON)
        answer[0] = b"\x08\x01"
        eventually("passing", lambda: registered(agent, "orders") == ["passing"], SOON)
        answer[0] = b"\x08\x02"
        eventually("critical", lambda: registered(agent, "orders") == ["critical"], 2 * SOON)
    finally:
        server.stop(0).wait()
    # Its field `service`.
    assert asked == {b"\x0a\x0eshop.v1.Orders"}


def test_a_second_sidecar_with_the_same_id_is_told_and_takes_nothing(agent: Agent, consul_mesh: Mesh) -> None:
    with application("first") as one, application("second") as two:
        first = consul_mesh.sidecar("orders", one, "--id", "orders-x")
        eventually("registered", lambda: registered(agent, "orders") == ["passing"], SOON)
        second = consul_mesh.sidecar("orders", two, "--id", "orders-x")
        said = "another sidecar with the id 'orders-x' runs at"
        eventually("told", lambda: said in str(told(second)["registration"]), SOON)
        assert agent.get("/v1/agent/service/orders-x")["Port"] == one

        # One that died without a word is replaced.
        first.kill()
        eventually("in its place", lambda: told(second)["registration"] == "registered", SOON)
        assert agent.get("/v1/agent/service/orders-x")["Port"] == two
        assert second.stop() == 0
    assert agent.get("/v1/agent/service/orders-x") is None


def test_an_agent_that_forgot_is_told_again(agent: Agent, consul_mesh: Mesh) -> None:
    with application("orders") as port:
        consul_mesh.sidecar("orders", port)
        eventually("registered", lambda: registered(agent, "orders") == ["passing"], SOON)
        for name in agent.get("/v1/agent/services"):
            agent.put(f"/v1/agent/service/deregister/{name}")
        assert registered(agent, "orders") == []

        eventually("registered again", lambda: registered(agent, "orders") == ["passing"], SOON)


def test_what_others_registered_is_left_alone(agent: Agent, consul_mesh: Mesh) -> None:
    with application("orders") as port:
        agent.put("/v1/agent/service/register", {"ID": f"orders-{port}", "Name": "orders", "Port": 7})
        orders = consul_mesh.sidecar("orders", port)

        eventually("told", lambda: "registered by somebody else" in str(told(orders)["registration"]), SOON)
        assert orders.stop() == 0
    assert agent.get(f"/v1/agent/service/orders-{port}")["Port"] == 7


def test_a_registration_of_others_is_taken_as_it_is(agent: Agent, consul_mesh: Mesh) -> None:
    inbound, first, second = free_port(), free_port(), free_port()
    with application("web") as port, application("orders") as orders_port:
        consul_mesh.sidecar("orders", orders_port)

        def register(upstream: int) -> None:
            proxy = {
                "DestinationServiceName": "web",
                "DestinationServiceID": "web-1",
                "LocalServicePort": port,
                "Upstreams": [{"DestinationName": "orders", "LocalBindPort": upstream}],
                "Config": {"bind_address": "127.0.0.1"},
            }
            agent.put("/v1/agent/service/register", {"ID": "web-1", "Name": "web", "Port": port})
            body = {"ID": "web-1-proxy", "Name": "web-proxy", "Kind": "connect-proxy", "Port": inbound, "Proxy": proxy}
            agent.put("/v1/agent/service/register", body)

        register(first)
        web = consul_mesh.start("web", "run", "--sidecar-for", "web-1", "--outbound-port", "0", environ={})
        assert web.inbound == f"127.0.0.1:{inbound}"
        eventually("the upstream's port", lambda: call(f"127.0.0.1:{first}", "any") == (200, "orders"), SOON)
        caller = consul_mesh.sidecar("caller", 1)
        eventually("a call to it", reaches(caller, "web", "web"), SOON)

        register(second)

        def moved() -> bool:
            try:
                return call(f"127.0.0.1:{second}", "any") == (200, "orders")
            except OSError:
                return False

        eventually("the port has moved", moved, SOON)
        assert web.stop() == 0
    assert set(agent.get("/v1/agent/services")) >= {"web-1", "web-1-proxy"}


def test_an_agent_that_restarts_is_no_reason_to_fail(agent: Agent, consul_mesh: Mesh) -> None:
    agent.document("gateways/edge", listeners=[LOOPBACK], routes=[{"name": "all", "to": {"service": "orders"}}])
    with application("orders") as port:
        consul_mesh.sidecar("orders", port)
        web, edge = consul_mesh.sidecar("web", 1), consul_mesh.gateway("edge")
        eventually("a call", reaches(web, "orders", "orders"), SOON)
        eventually("a call at the edge", lambda: call(edge.edge, "orders") == (200, "orders"), SOON)
        with Caller(web.outbound, "orders") as caller, Caller(edge.edge, "orders") as client:
            agent.stop()
            agent.start()
            eventually("registered", lambda: registered(agent, "orders") == ["passing"], 30)
            eventually("the edge, too", lambda: registered(agent, "edge", "service") == ["passing"], 30)
            for proxy in (web, edge):
                eventually("in contact", partial(in_contact, proxy), 30)
        for each in (caller, client):
            assert each.failures == []
            assert len(each.seen) > 20


def test_without_consul_everything_goes_on(agent: Agent, consul_mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    agent.document("services/orders", protocol="http", timeout="7s")
    with application("orders") as port:
        consul_mesh.sidecar("orders", port)
        web = consul_mesh.sidecar("web", 1)
        eventually("a call", reaches(web, "orders", "orders"), SOON)
        kept = Path(consul_mesh.config.parent, "state/last-good/sidecar-web-1.world")
        eventually("its endpoints are kept", lambda: kept.exists() and '"target":["orders"' in kept.read_text(), 20)

        agent.stop()
        with Caller(web.outbound, "orders") as caller:
            eventually("it says so", lambda: float(str(told(web)["stale_seconds"])) > 0, SOON)
            eventually("calls", lambda: len(caller.seen) > 100, SOON)
        assert caller.failures == []
        assert "consul_failure" in told(web)

        web.kill()
        started = time.monotonic()
        again = consul_mesh.sidecar("web", 1)
        ready = time.monotonic() - started
        assert call(again.outbound, "orders") == (200, "orders")
        with capsys.disabled():
            spent = cpu_seconds(again.process.pid)
            print(f"\nrestarted without Consul → ready: {ready * 1000:.0f} ms, of CPU {spent * 1000:.0f} ms")
        assert told(again)["ready"] is True
        assert float(str(told(again)["stale_seconds"])) > 0
        assert "serving what it told until" in again.output()
        assert "sidecar_consul_stale_seconds" in again.get("/metrics")[1]
        assert '"timeout": "7s"' in again.get("/api/v1/config")[1]

        agent.start()
        eventually("fresh again", lambda: told(again)["stale_seconds"] == 0, 30)
        assert call(again.outbound, "orders") == (200, "orders")


def cpu_seconds(pid: int) -> float:
    """What a process has spent, by fields 14 and 15 of proc(5)'s stat; the machine's other work is not in it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_first_start_without_consul_says_what_is_missing(consul_mesh: Mesh, agent: Agent) -> None:
    agent.stop()
    with pytest.raises(AssertionError, match=r"exited with 1(?s:.*)cannot be reached(?s:.*)start an agent there"):
        consul_mesh.sidecar("web", 1)


@pytest.mark.timeout(240)
def test_services_of_another_datacenter_are_called_by_name_by_upstream_and_by_failover(
    consul_mesh: Mesh, tmp_path: Path
) -> None:
    primary = 'primary_datacenter = "dc1"'
    here = Agent(tmp_path / "dc1", primary, datacenters=("dc1", "dc2"))
    here.start()
    there = Agent(tmp_path / "dc2", primary, datacenters=("dc2", "dc1"), join_wide=here.gossips_widely_at)
    there.start()
    port = free_port()
    try:
        eventually("joined", lambda: here.get("/v1/catalog/datacenters") == ["dc1", "dc2"], 30)
        here.put("/v1/config", {"Kind": "service-defaults", "Name": "orders", "Protocol": "http"})
        failover = {"Failover": {"*": {"Datacenters": ["dc2"]}}}
        here.put("/v1/config", {"Kind": "service-resolver", "Name": "orders", **failover})
        sought = {"Service": "orders", "Connect": True, "Failover": {"Datacenters": ["dc2"]}}
        here.post("/v1/query", {"Name": "near-orders", "Service": sought})
        upstreams = [{"service": "orders", "datacenter": "dc2", "port": port}]
        here.document("services/web", upstreams=upstreams)
        with application("far") as far:
            consul_mesh.sidecar("orders", far, environ={"CONSUL_HTTP_ADDR": there.address})
            eventually("far is passing", lambda: registered(there, "orders") == ["passing"], 20)
            web = consul_mesh.sidecar("web", 1, environ={"CONSUL_HTTP_ADDR": here.address})

            eventually("by its upstream", lambda: call(f"127.0.0.1:{port}", "any") == (200, "far"), 20)
            # Names of other datacenters are looked for now and then.
            eventually("by name", reaches(web, "orders.service.dc2.consul", "far"), 60)
            eventually("by failover", reaches(web, "orders", "far"), 20)
            local = free_port()
            here.document("services/web", upstreams=[*upstreams, {"query": "near-orders", "port": local}])

            def found() -> bool:
                try:
                    return call(f"127.0.0.1:{local}", "any") == (200, "far")
                except OSError:
                    return False

            eventually("by a prepared query", found, 30)
            with application("near") as near:
                consul_mesh.sidecar("orders", near, environ={"CONSUL_HTTP_ADDR": here.address})
                eventually("its own datacenter goes first", reaches(web, "orders", "near"), 20)
                eventually("the query finds it", lambda: call(f"127.0.0.1:{local}", "any") == (200, "near"), 30)
                assert call(f"127.0.0.1:{port}", "any") == (200, "far")
        consul_mesh.close()
    finally:
        there.stop()
        here.stop()
