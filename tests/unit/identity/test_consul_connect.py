"""Leaf and roots from Consul's answers: used when they belong together, else the last good ones stay."""

import base64
from contextlib import aclosing
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sidecar.identity.authority import Leaf
from sidecar.identity.consul_connect import ConsulConnect
from sidecar.world import Site
from tests.unit.consul.scripted import Reply, Scripted, connected, scripted

LEAF, ROOTS = "/v1/agent/connect/ca/leaf/orders", "/v1/agent/connect/ca/roots"
KEY = ec.generate_private_key(ec.SECP256R1())
KEY_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def certificate(text: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(text.encode()).decode()}\n-----END CERTIFICATE-----\n"


def leaf(name: str = "leaf", **fields: Any) -> Reply:
    told = {
        "CertPEM": certificate(name),
        "PrivateKeyPEM": KEY_PEM,
        "ServiceURI": "spiffe://abc.consul/ns/default/dc/east/svc/orders",
        "ValidAfter": "2026-11-22T07:00:00Z",
        "ValidBefore": "2026-11-25T07:00:00Z",
    }
    return Reply({**told, **fields}, index=len(name))


def roots(*names: str, **fields: Any) -> Reply:
    listed = [{"RootCert": certificate(name), "Active": True} for name in names]
    return Reply({"TrustDomain": "abc.consul", "Roots": listed, **fields}, index=len(names))


async def seen(script: Scripted, count: int) -> tuple[list[Leaf], ConsulConnect]:
    async with connected(script) as client:
        authority = ConsulConnect(client, "orders")
        async with aclosing(authority.watch()) as leaves:
            return [await anext(leaves) for _ in range(count)], authority


async def test_a_leaf_comes_with_every_listed_root_and_says_where_we_are() -> None:
    async with scripted({LEAF: [leaf()], ROOTS: [roots("new", "old")]}) as script:
        (read,), authority = await seen(script, 1)

    assert read.certificate_chain == (b"leaf",)
    assert read.roots == (b"new", b"old")
    assert (read.not_after - read.not_before).days == 3
    assert authority.site == Site("abc.consul", "east")


async def test_a_rotated_root_and_a_new_leaf_are_told_each() -> None:
    async with scripted({LEAF: [leaf(), leaf("leaf-2")], ROOTS: [roots("old")]}) as script:
        leaves, _ = await seen(script, 2)

    assert [item.certificate_chain for item in leaves] == [(b"leaf",), (b"leaf-2",)]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            leaf("bad", ServiceURI="spiffe://abc.consul/ns/default/dc/east/svc/web"),
            "expected one for the service orders",
        ),
        (leaf("bad", ServiceURI="spiffe://x.consul/ns/default/dc/east/svc/orders"), "the mesh is abc.consul"),
        (leaf("bad", PrivateKeyPEM="x"), "expected a private key"),
        (leaf("bad", ValidAfter="yesterday"), "another form than expected"),
        (Reply({"x": 1}, index=4), "another form than expected"),
        (Reply([], index=4), "connect { enabled = true }"),
    ],
)
async def test_an_answer_that_cannot_be_used_leaves_the_last_good_leaf(
    bad: Reply, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted({LEAF: [leaf(), bad, leaf("leaf-3")], ROOTS: [roots("old")]}) as script:
        leaves, authority = await seen(script, 2)

    assert [item.certificate_chain for item in leaves] == [(b"leaf",), (b"leaf-3",)]
    assert authority.failure == ""
    assert message in caplog.text
    assert "PRIVATE KEY" not in caplog.text


async def test_a_mesh_without_roots_is_not_trusted() -> None:
    async with scripted({LEAF: [leaf()], ROOTS: [roots(), roots("old")]}) as script:
        (read,), _ = await seen(script, 1)

    assert read.roots == (b"old",)
