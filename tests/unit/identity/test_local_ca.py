"""The local CA: one for all sidecars of a host, private, and whole or not there."""

import multiprocessing
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store, VerificationError

from sidecar.errors import IdentityError
from sidecar.identity import local_ca
from sidecar.identity.authority import Leaf
from sidecar.identity.local_ca import LocalAuthority
from sidecar.identity.process import LocalIssuer
from sidecar.identity.spiffe import ServiceId

ORDERS = ServiceId("mesh.local", "orders")


def test_a_leaf_names_the_service_and_nothing_else(tmp_path: Path) -> None:
    leaf = LocalAuthority(tmp_path, "mesh.local").issue(ORDERS)

    certificate = x509.load_der_x509_certificate(leaf.certificate_chain[0])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert list(names.value) == [x509.UniformResourceIdentifier(str(ORDERS))]
    assert names.critical
    assert certificate.subject == x509.Name([])
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_leaf_is_signed_by_the_root_and_holds_its_own_key(tmp_path: Path) -> None:
    authority = LocalAuthority(tmp_path, "mesh.local")
    leaf = authority.issue(ORDERS)

    certificate = x509.load_der_x509_certificate(leaf.certificate_chain[0])
    (root,) = leaf.roots
    certificate.verify_directly_issued_by(x509.load_der_x509_certificate(root))
    key = load_der_private_key(leaf.private_key, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == certificate.public_key()
    assert authority.issue(ORDERS).private_key != leaf.private_key


def test_openssl_accepts_the_chain(tmp_path: Path) -> None:
    authority = LocalAuthority(tmp_path / "state", "mesh.local")
    leaf = authority.issue(ORDERS)
    certificate = x509.load_der_x509_certificate(leaf.certificate_chain[0])
    key = load_der_private_key(leaf.private_key, password=None)
    pem = tmp_path / "leaf.pem"
    pem.write_bytes(
        certificate.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cadata=leaf.roots[0])

    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(to_client, to_server)
    callee = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (caller, callee, caller, callee, caller):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue

    peer = caller.getpeercert()
    assert peer is not None
    assert peer["subjectAltName"] == (("URI", str(ORDERS)),)


def test_a_leaf_lives_for_a_day_and_starts_a_minute_early(tmp_path: Path) -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    leaf = LocalAuthority(tmp_path, "mesh.local", clock=lambda: now).issue(ORDERS)

    assert leaf.not_before == now - timedelta(minutes=1)
    assert leaf.not_after == now + timedelta(hours=24)


def test_a_leaf_does_not_outlive_its_ca(tmp_path: Path) -> None:
    made = datetime(2026, 1, 1, tzinfo=UTC)
    LocalAuthority(tmp_path, "mesh.local", clock=lambda: made)
    late = made + timedelta(days=3650, hours=-1)

    leaf = LocalAuthority(tmp_path, "mesh.local", clock=lambda: late).issue(ORDERS)

    assert leaf.not_after == made + timedelta(days=3650)


def test_the_key_is_for_us_alone(tmp_path: Path) -> None:
    LocalAuthority(tmp_path / "state", "mesh.local")

    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state/ca/key.pem").stat().st_mode & 0o777 == 0o600


def test_no_repr_shows_a_key(tmp_path: Path) -> None:
    leaf = LocalAuthority(tmp_path, "mesh.local").issue(ORDERS)

    assert "private_key" not in repr(leaf)


def test_the_next_sidecar_uses_the_same_ca(tmp_path: Path) -> None:
    first, second = (LocalAuthority(tmp_path, "mesh.local").issue(ORDERS) for _ in range(2))

    assert first.roots == second.roots


def _root(state: str) -> bytes:
    return LocalAuthority(Path(state), "mesh.local").issue(ORDERS).roots[0]


def test_sidecars_that_start_together_agree_on_one_ca(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        roots = pool.map(_root, [str(tmp_path)] * 8, chunksize=1)

    assert len(set(roots)) == 1
    in_force = (tmp_path / "ca").readlink().name
    assert sorted(path.name for path in tmp_path.iterdir()) == [in_force, "ca", "ca.lock"]


def test_what_a_kill_left_half_done_is_cleared_and_not_used(tmp_path: Path) -> None:
    (tmp_path / ".ca-killed").mkdir()
    (tmp_path / ".ca-killed/key.pem").write_text("half a k")

    LocalAuthority(tmp_path, "mesh.local").issue(ORDERS)

    assert not (tmp_path / ".ca-killed").exists()


def test_a_ca_of_another_mesh_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    LocalAuthority(tmp_path, "old.mesh")

    with pytest.raises(IdentityError, match=r"'old.mesh'.*'new.mesh'.*trust_domain.*--state-dir"):
        LocalAuthority(tmp_path, "new.mesh")


def test_a_damaged_key_is_refused_by_name_and_not_quoted(tmp_path: Path) -> None:
    LocalAuthority(tmp_path, "mesh.local")
    key = tmp_path / "ca/key.pem"
    key.write_text(key.read_text()[:-60])

    with pytest.raises(IdentityError, match=r"ca cannot be used: its key or certificate is damaged") as refusal:
        LocalAuthority(tmp_path, "mesh.local")
    assert key.read_text().splitlines()[1] not in str(refusal.value)


def test_a_missing_key_is_refused_and_no_new_ca_is_made(tmp_path: Path) -> None:
    LocalAuthority(tmp_path, "mesh.local")
    (tmp_path / "ca/key.pem").unlink()

    with pytest.raises(IdentityError, match=r"key.pem cannot be read: No such file"):
        LocalAuthority(tmp_path, "mesh.local")


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    LocalAuthority(tmp_path / "a", "mesh.local")
    LocalAuthority(tmp_path / "b", "mesh.local")
    (tmp_path / "b/ca/key.pem").replace(tmp_path / "a/ca/key.pem")

    with pytest.raises(IdentityError, match=r"key.pem is not the key of cert.pem"):
        LocalAuthority(tmp_path / "a", "mesh.local")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    LocalAuthority(tmp_path, "mesh.local")
    (tmp_path / "ca/key.pem").chmod(0o644)

    with pytest.raises(IdentityError, match=r"can be read by others \(mode 0644\): run `chmod 600"):
        LocalAuthority(tmp_path, "mesh.local")


def test_an_ended_ca_is_refused(tmp_path: Path) -> None:
    LocalAuthority(tmp_path, "mesh.local", clock=lambda: datetime(2010, 1, 1, tzinfo=UTC))

    with pytest.raises(IdentityError, match="it ended at 2019-12-30"):
        LocalAuthority(tmp_path, "mesh.local", clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))


def test_a_state_directory_that_cannot_be_written_is_told_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(IdentityError, match=r"cannot be kept in .*file/state: Not a directory; .* --state-dir"):
        LocalAuthority(tmp_path / "file/state", "mesh.local")


def test_the_ca_signs_for_its_own_trust_domain_only(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="does not sign for"):
        LocalAuthority(tmp_path, "mesh.local").issue(ServiceId("other.local", "orders"))


def test_a_ca_is_made_once_and_shown(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"there is no local CA in .*`sidecar ca create`"):
        local_ca.show(tmp_path)

    made = local_ca.create(tmp_path, "mesh.local", timedelta(minutes=10))
    shown = local_ca.show(tmp_path)
    assert (shown.certificate, shown.leaf_lifetime) == (made.certificate, timedelta(minutes=10))
    leaf = LocalAuthority(tmp_path, "mesh.local").issue(ORDERS)
    assert leaf.not_after - leaf.not_before == timedelta(minutes=11)
    with pytest.raises(IdentityError, match="already: `sidecar ca rotate`"):
        local_ca.create(tmp_path, "mesh.local", timedelta(minutes=10))


@pytest.mark.parametrize("lifetime", [timedelta(seconds=4), timedelta(days=31)])
def test_leaves_that_live_too_short_or_long_are_refused(tmp_path: Path, lifetime: timedelta) -> None:
    with pytest.raises(IdentityError, match="expected 5 s to 30 days"):
        local_ca.create(tmp_path, "mesh.local", lifetime)
    assert not (tmp_path / "ca").exists()


def verifies(leaf: Leaf, roots: tuple[bytes, ...], now: datetime) -> bool:
    """Whether a peer with these roots finds a chain to one of them."""
    builder = PolicyBuilder().store(Store([x509.load_der_x509_certificate(root) for root in roots])).time(now)
    builder = builder.extension_policies(
        ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all()
    )
    shown, *rest = (x509.load_der_x509_certificate(each) for each in leaf.certificate_chain)
    try:
        builder.build_client_verifier().verify(shown, rest)
    except VerificationError:
        return False
    return True


def test_a_rotated_root_is_trusted_in_whichever_order_it_arrives(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    before = LocalAuthority(tmp_path, "mesh.local").issue(ORDERS)
    local_ca.rotate(tmp_path)
    after = LocalAuthority(tmp_path, "mesh.local").issue(ORDERS)

    assert after.roots != before.roots
    assert set(before.roots) < set(after.roots)
    # Either leaf, towards a peer that has either bundle.
    for leaf in (before, after):
        for roots in (before.roots, after.roots):
            assert verifies(leaf, roots, now)


def test_an_earlier_root_is_trusted_until_its_last_leaf_has_ended(tmp_path: Path) -> None:
    made = datetime(2026, 1, 1, tzinfo=UTC)
    first = LocalAuthority(tmp_path, "mesh.local", clock=lambda: made).issue(ORDERS).roots[0]
    local_ca.rotate(tmp_path, clock=lambda: made)

    def roots(hours: int) -> tuple[bytes, ...]:
        return LocalAuthority(tmp_path, "mesh.local", clock=lambda: made + timedelta(hours=hours)).issue(ORDERS).roots

    assert first in roots(24)
    assert first not in roots(25)
    assert len(roots(25)) == 1


def test_a_distrusted_root_verifies_nothing_any_more(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    before = LocalAuthority(tmp_path, "mesh.local").issue(ORDERS)
    local_ca.rotate(tmp_path, distrust=True)
    after = LocalAuthority(tmp_path, "mesh.local").issue(ORDERS)

    assert len(after.roots) == 1
    assert not verifies(before, after.roots, now)
    assert not verifies(after, before.roots, now)
    assert verifies(after, after.roots, now)


def test_a_rotation_leaves_one_ca_and_no_other_key(tmp_path: Path) -> None:
    LocalAuthority(tmp_path, "mesh.local")
    for _ in range(3):
        local_ca.rotate(tmp_path)

    assert len(list(tmp_path.rglob("key.pem"))) == 1
    assert (tmp_path / "ca/key.pem").stat().st_mode & 0o777 == 0o600
    assert LocalIssuer(tmp_path, "mesh.local").mark() == (tmp_path / "ca").readlink().name
