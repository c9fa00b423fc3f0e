"""Roots of Consul's Connect CA that rotate under load: every proxy has a new leaf, and no call fails."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.mesh import Mesh, Proxy, eventually
from tests.real.callers import Caller, application
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
