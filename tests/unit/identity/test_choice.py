"""`--identity`: one word names the authority, and what is not possible is told with the way out."""

import pytest

from sidecar.errors import IdentityError
from sidecar.identity.choice import CONSUL, LOCAL, Choice, parse

SOCKET = {"SPIFFE_ENDPOINT_SOCKET": "unix:///run/agent.sock"}


@pytest.mark.parametrize(
    ("text", "with_consul", "choice"),
    [
        ("", True, CONSUL),
        ("", False, LOCAL),
        ("consul", True, CONSUL),
        ("local", False, LOCAL),
        ("files:/run/mesh", True, Choice("files", "/run/mesh")),
        ("files:/run/mesh", False, Choice("files", "/run/mesh")),
        ("spire", False, Choice("spire", "unix:///run/agent.sock")),
        ("spire:unix:///tmp/a", True, Choice("spire", "unix:///tmp/a")),
    ],
)
def test_an_authority_is_named(text: str, with_consul: bool, choice: Choice) -> None:
    assert parse(text, SOCKET, with_consul=with_consul) == choice


@pytest.mark.parametrize(
    ("text", "with_consul", "message"),
    [
        ("consul", False, "needs Consul"),
        ("local", True, "give --config DIR"),
        ("vault", True, "'vault' is no authority: expected consul, local, files:DIR, spire"),
        ("files", False, "is no authority"),
        ("local:x", False, "is no authority"),
    ],
)
def test_what_cannot_be_is_told(text: str, with_consul: bool, message: str) -> None:
    with pytest.raises(IdentityError, match=message):
        parse(text, {}, with_consul=with_consul)
