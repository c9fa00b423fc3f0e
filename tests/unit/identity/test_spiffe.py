"""SPIFFE ids: written like Consul's, and nothing that could be read in two ways."""

import pytest

from sidecar.errors import IdentityError
from sidecar.identity.spiffe import ServiceId, expect


def test_a_service_id_is_written_as_consul_writes_it() -> None:
    assert str(ServiceId("mesh.local", "orders")) == "spiffe://mesh.local/ns/default/dc/dc1/svc/orders"


@pytest.mark.parametrize("trust_domain", ["", "Mesh.local", "mesh/local", "mesh local", "a" * 256])
def test_what_is_no_trust_domain_is_refused(trust_domain: str) -> None:
    with pytest.raises(IdentityError, match="is no trust domain"):
        ServiceId(trust_domain, "orders")


@pytest.mark.parametrize("service", ["", "a/b", "..", ".", "a b", "a%2Fb", "a" * 256])
def test_a_service_name_cannot_break_out_of_its_segment(service: str) -> None:
    with pytest.raises(IdentityError, match="cannot be the service of a SPIFFE id"):
        ServiceId("mesh.local", service)


def test_an_id_is_read_as_it_was_written() -> None:
    written = ServiceId("abc.consul", "orders", "dc2", "shop")
    assert ServiceId.parse(str(written)) == written


@pytest.mark.parametrize(
    "uri",
    ["", "spiffe://mesh.local/orders", "https://mesh.local/ns/default/dc/dc1/svc/orders", f"{ServiceId('a', 'b')}/c"],
)
def test_another_id_is_none_of_a_service(uri: str) -> None:
    with pytest.raises(IdentityError, match="expected spiffe://<trust domain>/ns/"):
        ServiceId.parse(uri)


def test_our_own_certificate_is_for_our_service() -> None:
    orders = ServiceId("mesh.local", "orders", "dc2")
    assert expect([str(orders)], "orders", "mesh.local") == orders
    assert expect([str(orders)], "orders", "") == orders


@pytest.mark.parametrize(
    ("uris", "seen"),
    [
        ([], "no URI"),
        ([str(ServiceId("mesh.local", "web"))], "svc/web"),
        ([str(ServiceId("evil.local", "orders"))], "evil.local"),
        ([str(ServiceId("mesh.local", "orders")), "spiffe://mesh.local/x"], " and spiffe://mesh.local/x"),
    ],
)
def test_a_certificate_of_somebody_else_is_told_with_both_names(uris: list[str], seen: str) -> None:
    expected = "expected spiffe://mesh.local/ns/default/dc/<datacenter>/svc/orders"
    with pytest.raises(IdentityError, match=f"{seen}.*, {expected}"):
        expect(uris, "orders", "mesh.local")
