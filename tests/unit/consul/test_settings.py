"""Consul's variables mean here what they mean to Consul's own command."""

from pathlib import Path

import pytest

from sidecar.consul.settings import Settings, read
from sidecar.errors import ConsulError


@pytest.mark.parametrize(
    ("address", "scheme", "host", "port"),
    [
        ("", "http", "127.0.0.1", 8500),
        ("10.0.0.7:8501", "http", "10.0.0.7", 8501),
        ("http://consul.local:8500", "http", "consul.local", 8500),
        ("https://consul.local:8501", "https", "consul.local", 8501),
        # The scheme's own port, as Consul's client takes it.
        ("consul.local", "http", "consul.local", 80),
        ("https://consul.local", "https", "consul.local", 443),
        ("[::1]:8500", "http", "::1", 8500),
    ],
)
def test_an_address_is_read(address: str, scheme: str, host: str, port: int) -> None:
    settings = read({"CONSUL_HTTP_ADDR": address})

    assert (settings.scheme, settings.host, settings.port) == (scheme, host, port)


def test_a_unix_socket_is_a_path() -> None:
    assert read({"CONSUL_HTTP_ADDR": "unix:///run/consul.sock"}).socket == "/run/consul.sock"


@pytest.mark.parametrize(
    ("address", "is_local"),
    [
        ("[::1]:8500", True),
        ("localhost:8500", True),
        ("unix:///run/consul.sock", True),
        ("10.0.0.1:8500", False),
        ("consul.local:8500", False),
    ],
)
def test_a_remote_agent_is_told_from_a_local_one(address: str, is_local: bool) -> None:
    assert read({"CONSUL_HTTP_ADDR": address}).is_local is is_local


def test_the_api_may_stand_below_a_path() -> None:
    assert read({"CONSUL_HTTP_ADDR": "https://proxy.local/consul/"}).prefix == "/consul"


def test_tls_that_was_asked_for_is_not_given_up_for_an_address_in_the_clear() -> None:
    assert read({"CONSUL_HTTP_ADDR": "http://consul.local:8501", "CONSUL_HTTP_SSL": "true"}).scheme == "https"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"CONSUL_HTTP_ADDR": "ftp://x"}, "`ftp` is not a scheme"),
        ({"CONSUL_HTTP_ADDR": "127.0.0.1:port"}, "CONSUL_HTTP_ADDR is '127.0.0.1:port'"),
        ({"CONSUL_HTTP_ADDR": "127.0.0.1:99999"}, "expected an address such as 127.0.0.1:8500"),
        ({"CONSUL_HTTP_ADDR": "unix://run/x"}, "absolute path"),
        ({"CONSUL_HTTP_ADDR": "http://"}, "not a host with a port"),
        ({"CONSUL_HTTP_SSL": "yes"}, "CONSUL_HTTP_SSL is 'yes': expected true or false"),
    ],
)
def test_what_cannot_be_used_is_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConsulError, match=message.replace("(", r"\(")):
        read(environ)


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(ConsulError) as refused:
        read({"CONSUL_HTTP_ADDR": "http://me:secret@consul.local:8500"})

    assert "secret" not in str(refused.value)


def test_what_is_explicit_goes_before_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from the file\n")
    environ = {"CONSUL_HTTP_ADDR": "10.0.0.1:1", "CONSUL_HTTP_TOKEN": "env", "CONSUL_HTTP_TOKEN_FILE": "/missing"}

    assert read(environ, address="10.0.0.2:2").host == "10.0.0.2"
    assert read(environ, token="flag").current_token() == "flag"
    assert read(environ, token_file=str(file)).current_token() == "from the file"


def test_a_token_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    settings = read({"CONSUL_HTTP_TOKEN_FILE": str(file), "CONSUL_HTTP_TOKEN": "goes after the file"})

    assert settings.current_token() == "old"
    file.write_text("new")
    assert settings.current_token() == "new"
    file.unlink()
    with pytest.raises(ConsulError, match="CONSUL_HTTP_TOKEN_FILE"):
        settings.current_token()


def test_a_token_is_shown_nowhere() -> None:
    assert "secret" not in repr(read({"CONSUL_HTTP_TOKEN": "secret"}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(scheme="https", ca_file="/missing.pem"), r"/missing.pem \(CONSUL_CACERT, CONSUL_CAPATH\)"),
        (Settings(scheme="https", client_certificate="/missing.pem"), "CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY"),
    ],
)
def test_a_file_of_tls_that_cannot_be_used_is_named(settings: Settings, message: str) -> None:
    with pytest.raises(ConsulError, match=message):
        settings.tls()


def test_cleartext_reads_no_file_of_tls() -> None:
    assert Settings(ca_file="/missing.pem").tls() is None
