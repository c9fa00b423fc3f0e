"""Lists of addresses in files: what people and feeds write is read, and what is none is refused with its line."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from sidecar.errors import IdentityError
from sidecar.identity.address_lists import LARGEST, read


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "blocked.txt"


def test_networks_addresses_and_remarks_are_understood(file: Path) -> None:
    file.write_text(
        "# a feed\r\n10.0.0.0/8\r\n\n  192.0.2.7  \n2001:db8::/32 ; SBL1\n::1\n198.51.100.0/255.255.255.0\n0.0.0.0/0"
    )
    expected = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::1/128", "198.51.100.0/24", "0.0.0.0/0"]
    assert read(file).decode().splitlines() == expected
    file.write_text("")
    assert read(file) == b""


def test_many_are_those_that_were_written(file: Path) -> None:
    many = [f"{number % 223 + 1}.{number // 256 % 256}.{number % 256}.0/24" for number in range(5000)]
    many += [f"2001:db8:{number:x}::/48" for number in range(5000)]
    file.write_text("\n".join(many))
    assert [ip_network(line) for line in read(file).decode().splitlines()] == [ip_network(line) for line in many]


@pytest.mark.parametrize(
    "wrong",
    [
        "host",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0/8",
        "010.0.0.0/8",
        "10.0.0.0/-1",
        "2001:db8::1/32",
        "fe80::1%lo/-",
        "1/\u00b2",
    ],
)
def test_what_is_no_network_is_refused_with_its_line(file: Path, wrong: str) -> None:
    file.write_text(f"10.0.0.0/8\n{wrong}\n")
    with pytest.raises(IdentityError, match=r"blocked.txt:2: this is not a network: .* expected one like 10.0.0.0/8"):
        read(file)


def test_what_is_no_list_is_refused(file: Path) -> None:
    with pytest.raises(IdentityError, match="cannot be read: No such file"):
        read(file)
    file.write_bytes(b"\xff\xfe1")
    with pytest.raises(IdentityError, match="is not text"):
        read(file)
    file.write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(IdentityError, match="at most 8 MiB"):
        read(file)
