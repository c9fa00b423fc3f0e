"""A gateway asks who calls: by keys, passwords and tokens of consumers, and tells the service."""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.e2e.conftest import last_failure
from tests.mesh import LOOPBACK, Mesh, Proxy, eventually
from tests.peers import http1
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, Request, sized
from tests.peers.scripted import refusing

Json = dict[str, Any]

ISSUER = "https://id.test"
# Of "open sesame", as cheap as can be.
ARGON2 = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$Oeg3baSSWS7QAao8HYivkySfJr8SK3YSClgKVMwqBwI"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def digest(key: str) -> Json:
    return {"sha256": hashlib.sha256(key.encode()).hexdigest()}


def url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def key_set(**keys: rsa.RSAPrivateKey) -> str:
    def public(name: str, key: rsa.RSAPrivateKey) -> Json:
        numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "kid": name, "n": url64(numbers.n.to_bytes(256)), "e": url64(numbers.e.to_bytes(3))}

    return json.dumps({"keys": [public(name, key) for name, key in keys.items()]})


def token(key: rsa.RSAPrivateKey = KEY, kid: str = "first", **claims: object) -> str:
    said = {"iss": ISSUER, "sub": "ann-at-id", "aud": "shop", "exp": int(time.time()) + 600, **claims}
    parts = [url64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": kid}, said)]
    signed = ".".join(parts).encode()
    return f"{signed.decode()}.{url64(key.sign(signed, padding.PKCS1v15(), hashes.SHA256()))}"


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@dataclass
class Shop:
    """A gateway before an application that tells the fields that it gets."""

    mesh: Mesh
    edge: Proxy
    keys: Path

    def ask(self, route: str, target: str = "/", **fields: str) -> Answer:
        fields = {name.replace("_", "-"): value for name, value in fields.items()}
        with Http1.connect(self.edge.edge) as client:
            return client.ask(Request("GET", target, f"{route}.test", fields))

    def told(self, route: str, target: str = "/", **fields: str) -> Json:
        """What the service is told of a request that it gets: its fields, and its path."""
        answer = self.ask(route, target, **fields)
        assert answer.status == 200, answer
        return dict(json.loads(answer.body))

    def consumer(self, name: str, **fields: Any) -> None:
        """Written, and in force when what it says can be used."""
        self.mesh.document(f"consumers/{name}", **fields)


def until(what: str, holds: Callable[[], bool]) -> None:
    eventually(what, holds, within=10)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    def app(request: Request) -> Answer:
        body = json.dumps({**request.fields, ":path": request.path}).encode()
        return Answer(200, sized(body), body)

    with http1.server(app) as server, refusing() as nobody, Mesh(tmp_path_factory.mktemp("shop")) as mesh:
        keys = mesh.config / "keys.jwks"
        keys.write_text(key_set(first=KEY))
        mesh.document("services/shop", tls="disabled", endpoints=[{"address": server.address}])
        mesh.document(
            "consumers/ann",
            groups=["partners", "beta"],
            keys=[digest("ann-key")],
            passwords=[{"argon2": ARGON2}],
            tokens=[{"issuer": ISSUER, "value": "ann-at-id"}],
        )
        mesh.document("consumers/guest")
        mesh.document("consumers/bob", enabled=False, keys=[digest("bob-key")])
        jwt = {"issuer": ISSUER, "jwks": "keys.jwks", "audiences": ["shop"], "claim_headers": {"x-mail": "mail"}}
        asked = {
            "key": [{"key": {"header": "x-api-key", "query": "key"}}],
            "basic": [{"basic": {}}],
            "jwt": [{"jwt": jwt}],
            "unreachable": [{"jwt": {"issuer": ISSUER, "jwks": f"http://{nobody}/keys"}}],
            "any": [{"key": {}}, {"basic": {}}, {"anonymous": "guest"}],
            "both": [{"all": [{"key": {}}, {"basic": {"forward": True}}]}],
            "open": [],
        }
        routes = [
            {"name": name, "match": {"host": f"{name}.test"}, "to": {"service": "shop"}, "authenticate": methods}
            for name, methods in asked.items()
        ]
        routes.append({"name": "by-default", "match": {"host": "default.test"}, "to": {"service": "shop"}})
        mesh.document("gateways/edge", listeners=[LOOPBACK], routes=routes, authenticate=[{"key": {}}])
        yield Shop(mesh, mesh.gateway("edge"), keys)


def test_a_key_opens_a_route_and_the_service_is_told_whose_it_is(shop: Shop) -> None:
    told = shop.told("key", "/things?a=1&key=other", x_api_key="ann-key", x_consumer_groups="admins")

    assert (told["x-consumer-username"], told["x-consumer-groups"]) == ("ann", "partners,beta")
    assert "x-api-key" not in told
    assert told[":path"] == "/things?a=1", "no credentials go on, used or not"
    assert shop.told("key", "/things?key=ann-key")[":path"] == "/things"


@pytest.mark.parametrize(
    ("route", "fields", "reason", "challenge"),
    [
        ("key", {}, "no-credentials", 'Key realm="edge"'),
        ("default", {}, "no-credentials", 'Key realm="edge"'),
        ("key", {"x_api_key": "wrong"}, "unknown-key", 'Key realm="edge"'),
        ("key", {"x_api_key": "bob-key"}, "unknown-key", 'Key realm="edge"'),
        ("basic", {"authorization": basic("ann", "wrong")}, "wrong-password", 'Basic realm="edge", charset="UTF-8"'),
        ("basic", {"authorization": basic("eve", "open sesame")}, "wrong-password", None),
        ("any", {"x_api_key": "wrong"}, "unknown-key", None),
        ("both", {"x_api_key": "ann-key"}, "no-credentials", None),
        ("jwt", {"authorization": "Bearer x.y.z"}, "token-invalid", 'Bearer realm="edge", error="invalid_token"'),
    ],
)
def test_who_shows_nothing_good_is_refused_with_a_reason(
    shop: Shop, route: str, fields: dict[str, str], reason: str, challenge: str | None
) -> None:
    answer = shop.ask(route, **fields)

    assert answer.status == 401
    assert challenge is None or answer.fields["www-authenticate"] == challenge
    assert b"reason" not in answer.body, "callers from outside are told no particulars"
    eventually("the reason", lambda: last_failure(shop.edge, f"{route}.test")["reason"] == reason, within=5)


def test_a_call_is_refused_in_the_words_of_grpc(shop: Shop) -> None:
    with Http2.connect(shop.edge.edge) as client:
        fields = {"content-type": "application/grpc"}
        answer = client.ask(Request("POST", "/shop.Orders/Get", "key.test", fields, bytes(5)))

    assert (answer.status, answer.fields["grpc-status"]) == (200, "16")


def test_a_password_opens_a_route_and_stays_here(shop: Shop) -> None:
    for _ in range(2):
        told = shop.told("basic", authorization=basic("ann", "open sesame"))
        assert told["x-consumer-username"] == "ann"
        assert "authorization" not in told


def test_several_ways_any_or_all_and_who_is_anonymous(shop: Shop) -> None:
    password = basic("ann", "open sesame")

    assert shop.told("any", x_api_key="ann-key")["x-consumer-username"] == "ann"
    assert shop.told("any", authorization=password)["x-consumer-username"] == "ann"
    nobody = shop.told("any")
    assert (nobody["x-consumer-username"], nobody["x-anonymous-consumer"]) == ("guest", "true")
    both = shop.told("both", x_api_key="ann-key", authorization=password)
    assert both["authorization"] == password, "`forward` says so"
    assert "x-api-key" not in both


def test_an_open_route_asks_nobody_and_believes_nobody(shop: Shop) -> None:
    told = shop.told("open", x_consumer_username="ann", x_anonymous_consumer="false", x_api_key="ann-key")

    assert not [name for name in told if "consumer" in name]
    assert told["x-api-key"] == "ann-key", "it is the application's own affair"


def test_a_token_opens_a_route_and_its_claims_are_told(shop: Shop) -> None:
    told = shop.told("jwt", authorization=f"Bearer {token(mail='ann@id.test')}", x_mail="forged@id.test")

    assert (told["x-consumer-username"], told["x-mail"]) == ("ann", "ann@id.test")
    assert "authorization" not in told
    nobody = shop.told("jwt", authorization=f"Bearer {token(sub='eve')}", x_mail="forged@id.test")
    assert not {"x-consumer-username", "x-mail"} & nobody.keys(), "a good token of nobody we know"


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        (token(exp=int(time.time()) - 120), "token-expired"),
        (token(aud="other"), "token-invalid"),
        (token(iss="https://other.test"), "token-invalid"),
        (token(OTHER_KEY), "token-invalid"),
        (token(kid="unknown"), "token-invalid"),
    ],
)
def test_a_token_that_is_not_good_is_refused(shop: Shop, forged: str, reason: str) -> None:
    assert shop.ask("jwt", authorization=f"Bearer {forged}").status == 401
    eventually("the reason", lambda: last_failure(shop.edge, "jwt.test")["reason"] == reason, within=5)


def test_keys_that_cannot_be_had_are_our_affair_and_told(shop: Shop) -> None:
    answer = shop.ask("unreachable", authorization=f"Bearer {token()}")

    assert answer.status == 503
    failure = last_failure(shop.edge, "unreachable.test")
    assert failure["reason"] == "keys-unavailable"
    assert "cannot be reached" in failure["detail"]
    status, body = shop.edge.get("/ready")
    (why,) = json.loads(body)["key_sets"].values()
    assert status == 200
    assert "cannot be reached" in why


def test_a_key_of_a_consumer_and_one_of_an_issuer_are_rotated_without_an_outage(shop: Shop) -> None:
    def rotated(*keys: str) -> None:
        shop.consumer("cid", keys=[digest(key) for key in keys])

    def opens(key: str) -> bool:
        return shop.ask("key", x_api_key=key).status == 200

    rotated("old")
    until("the old key is known", lambda: opens("old"))
    rotated("old", "new")
    until("the new key is known", lambda: opens("new"))
    assert opens("old")
    rotated("new")
    until("the old key is known no more", lambda: not opens("old"))
    assert opens("new")

    second = token(OTHER_KEY, kid="second")
    shop.keys.write_text(key_set(first=KEY, second=OTHER_KEY))
    until("the issuer's new key is known", lambda: shop.ask("jwt", authorization=f"Bearer {second}").status == 200)
    assert shop.ask("jwt", authorization=f"Bearer {token()}").status == 200


def test_what_proves_anything_is_never_shown(shop: Shop) -> None:
    shop.ask("key", "/things?key=ann-key&x=1")
    _, config = shop.edge.get("/api/v1/config")

    shown = config + shop.edge.output()
    for secret in ("ann-key", digest("ann-key")["sha256"], ARGON2, "open sesame", url64(b'{"alg"')):
        assert secret not in shown
    assert '"(hidden)"' in config
    eventually("the consumer in the log", lambda: '"consumer":"ann"' in shop.edge.output(), within=5)
