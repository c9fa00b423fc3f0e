"""Roots of Consul's Connect CA that rotate under load, and programs that hold a leaf of it themselves."""

from __future__ import annotations

import http.client
import re
import ssl
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.mesh import Mesh, Proxy, eventually
from tests.real.callers import Caller, application, call
from tests.real.consul_agent import Agent, running

pytestmark = pytest.mark.real

# Agents ask for new leaves at a moment of their own after a rotation, up to half a minute later; not here.
AT_ONCE = 'connect { test_ca_leaf_root_change_spread = "1ms" }'
# Seconds for a rotation to reach a proxy, and for a few calls.
SOON = 30.0


def rotate(agent: Agent) -> None:
    """Have the CA make a root of a new key; it signs it with the one before, too."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    agent.put("/v1/connect/ca/configuration", {"Provider": "consul", "Config": {"PrivateKey": pem}})


def rotations(proxy: Proxy) -> int:
    (found,) = re.findall(r"^sidecar_certificate_rotations_total (\d+)", proxy.get("/metrics")[1], re.MULTILINE)
    return int(found)


def has_rotated(proxy: Proxy, times: int) -> bool:
    return rotations(proxy) >= times


def active_root(agent: Agent) -> str:
    return str(agent.get("/v1/agent/connect/ca/roots")["ActiveRootID"])


def is_signed_by(proxy: Proxy, agent: Agent, service: str) -> bool:
    """Whether the leaf of the proxy's service is the one that the agent would give now, and has been given."""
    known = agent.get(f"/v1/agent/connect/ca/leaf/{service}")["SerialNumber"].replace(":", "")
    return f'"serial": "{known.lstrip("0")}"' in proxy.get("/api/v1/certs")[1]


def has_made(caller: Caller, calls: int) -> bool:
    return len(caller.seen) >= calls


@pytest.mark.parametrize(
    "times",
    [
        pytest.param(2, marks=pytest.mark.timeout(180)),
        pytest.param(10, marks=[pytest.mark.long, pytest.mark.timeout(600)]),
    ],
)
def test_roots_that_rotate_cost_no_call(tmp_path: Path, times: int) -> None:
    with (
        running(tmp_path / "consul", AT_ONCE) as agent,
        application("tea") as app,
        Mesh(tmp_path / "mesh", agent.address) as mesh,
    ):
        agent.document("services/orders", protocol="http")
        orders, web = mesh.sidecar("orders", app), mesh.sidecar("web", 1)
        with Caller(web.outbound, "orders") as caller:
            eventually("calls", partial(has_made, caller, 20), SOON)
            for _ in range(times):
                before, root = [rotations(proxy) for proxy in (orders, web)], active_root(agent)
                rotate(agent)
                assert active_root(agent) != root
                for proxy, service, count in ((orders, "orders", before[0]), (web, "web", before[1])):
                    # The root, and a leaf by it.
                    eventually("renewed", partial(has_rotated, proxy, count + 2), SOON)
                    eventually("the newest leaf", partial(is_signed_by, proxy, agent, service), SOON)
                eventually("calls", partial(has_made, caller, len(caller.seen) + 20), SOON)
        assert caller.failures == []


def native(agent: Agent, service: str, directory: Path, *, by_server: bool) -> ssl.SSLContext:
    """What shows the service's leaf of the Connect CA, and takes peers by its roots alone."""
    leaf = agent.get(f"/v1/agent/connect/ca/leaf/{service}")
    file = directory / f"{service}.pem"
    file.write_text(leaf["CertPEM"] + leaf["PrivateKeyPEM"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if by_server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(file)
    roots = agent.get("/v1/agent/connect/ca/roots")["Roots"]
    context.load_verify_locations(cadata="".join(root["RootCert"] for root in roots))
    return context


def asked(address: str, context: ssl.SSLContext) -> tuple[int, str, Any]:
    """Status and body of a GET by a client that is its own proxy, and the names of who answered."""
    with closing(http.client.HTTPSConnection(address, context=context, timeout=10)) as connection:
        connection.connect()
        shown = connection.sock.getpeercert() or {}
        connection.request("GET", "/", headers={"Host": "orders"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), shown.get("subjectAltName")


def test_a_client_that_holds_a_leaf_calls_us_and_intentions_are_about_it(
    agent: Agent, consul_mesh: Mesh, tmp_path: Path
) -> None:
    agent.document("services/orders", protocol="http")
    sources = [{"Name": "job", "Action": "allow"}, {"Name": "*", "Action": "deny"}]
    agent.put("/v1/config", {"Kind": "service-intentions", "Name": "orders", "Sources": sources})
    with application("tea") as app:
        orders = consul_mesh.sidecar("orders", app)
        job, other = (native(agent, name, tmp_path, by_server=False) for name in ("job", "other"))
        eventually("allowed", lambda: asked(orders.inbound, job)[0] == 200, SOON)
        status, body, ((kind, uri),) = asked(orders.inbound, job)
        assert (status, body, kind) == (200, "tea", "URI")
        assert uri.endswith("/ns/default/dc/dc1/svc/orders")
        assert asked(orders.inbound, other)[0] == 403


def test_we_call_a_server_that_holds_a_leaf(agent: Agent, consul_mesh: Mesh, tmp_path: Path) -> None:
    web = consul_mesh.sidecar("web", 1)
    # The second shows the first one's leaf.
    for service, context in (
        ("orders", native(agent, "orders", tmp_path, by_server=True)),
        ("forged", native(agent, "orders", tmp_path, by_server=True)),
    ):
        with application("tea", context=context) as port:
            agent.document(f"services/{service}", protocol="http")
            definition = {"Name": service, "Address": "127.0.0.1", "Port": port, "Connect": {"Native": True}}
            agent.put("/v1/agent/service/register", definition)
            if service == "orders":
                eventually("an answer", lambda: call(web.outbound, "orders") == (200, "tea"), SOON)
            else:
                eventually("refused", lambda: "peer-mismatch" in refusals(web, "forged"), SOON)


def refusals(proxy: Proxy, service: str) -> str:
    """What is on record after one more call."""
    assert call(proxy.outbound, service)[0] != 200
    return proxy.get("/api/v1/failures")[1]
