"""The address by which others reach us."""

import pytest

from sidecar.consul.settings import read
from sidecar.registration.address import advertised


@pytest.mark.parametrize(
    ("wanted", "listens_on", "agent", "said"),
    [
        ("10.0.0.9", "0.0.0.0:21000", "127.0.0.1:8500", "10.0.0.9"),
        ("", "10.0.0.7:21000", "127.0.0.1:8500", "10.0.0.7"),
        ("", "0.0.0.0:21000", "127.0.0.1:8500", ""),
        ("", "[::]:21000", "localhost:8500", ""),
        ("", "0.0.0.0:21000", "unix:///run/consul.sock", ""),
        # No name that resolves: the agent's own address is the best guess.
        ("", "0.0.0.0:21000", "consul.invalid:8500", ""),
    ],
)
async def test_the_nearest_word_decides(wanted: str, listens_on: str, agent: str, said: str) -> None:
    assert await advertised(wanted, listens_on, read({"CONSUL_HTTP_ADDR": agent})) == said
