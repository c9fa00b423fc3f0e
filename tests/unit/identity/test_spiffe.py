"""SPIFFE ids: written like Consul's, and nothing that could be read in two ways."""

import pytest

from sidecar.errors import IdentityError
from sidecar.identity.spiffe import ServiceId


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
