"""How a gateway's document asks who calls, and the consumers that may."""

import hashlib

import pytest

from sidecar.config.load import load
from sidecar.config.model import Consumer, Gateway
from sidecar.config.model.authenticate import PUBLIC
from sidecar.errors import Problem
from sidecar.world import World
from tests.unit.documents import SHOP, document_set, problems_of, world_of

DIGEST = hashlib.sha256(b"ann-key").hexdigest()
OTHER = hashlib.sha256(b"bob-key").hexdigest()
ARGON2 = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$Oeg3baSSWS7QAao8HYivkySfJr8SK3YSClgKVMwqBwI"
JWT = "issuer: https://id.test, jwks: https://id.test/keys"


def edge(methods: str, allow: str = "") -> str:
    return (
        f"routes:\n  - {{name: all, to: {{service: orders}}, authenticate: {methods}{allow and ', allow: '}{allow}}}\n"
    )


def gateway(methods: str) -> Gateway:
    model = load("gateways/edge.yaml", edge(methods).encode()).model
    assert isinstance(model, Gateway)
    return model


def only(problems: tuple[Problem, ...]) -> Problem:
    (problem,) = problems
    return problem


def consumer(text: str) -> Consumer:
    model = load("consumers/ann.yaml", text.encode()).model
    assert isinstance(model, Consumer)
    return model


def test_what_is_left_out_is_safe() -> None:
    (route,) = gateway(f"[{{key: {{}}}}, {{jwt: {{{JWT}}}}}]").routes
    assert route.authenticate is not None
    key, jwt = route.authenticate[0].key, route.authenticate[1].jwt

    assert key is not None and jwt is not None  # noqa: PT018 - both are narrowed
    assert (key.header, key.query, key.forward) == (None, None, False)
    assert (jwt.algorithms, jwt.require_expiration, jwt.leeway.total_seconds()) == (PUBLIC, True, 60)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("[{}]", "a method says one thing"),
        ("[{key: {}, basic: {}}]", "a method says one thing"),
        ("[{anonymous: ann}]", "nobody could be anybody else"),
        ("[{anonymous: ann}, {key: {}}]", "nothing behind it would count"),
        ("[{oidc: {}}]", "`oidc` is not supported yet"),
        ("[{keys: {}}]", "unknown field `keys`"),
        ("[{all: [{key: {}}, {anonymous: ann}]}]", "unknown field `anonymous`"),
        (f"[{{jwt: {{{JWT}, algorithms: [none]}}}}]", "`none` is not one of the choices"),
        (f"[{{jwt: {{{JWT}, algorithms: []}}}}]", "no token could be good"),
        (f"[{{jwt: {{{JWT}, algorithms: [HS256]}}}}]", "a shared secret does not come by a URL"),
        (f"[{{jwt: {{{JWT}, leeway: 11m}}}}]", "clocks do not differ that much"),
        (f"[{{jwt: {{{JWT}, claim_headers: {{cookie: sub}}}}}}]", "`cookie` cannot tell a claim"),
        (f"[{{jwt: {{{JWT}, claim_headers: {{x-consumer-groups: g}}}}}}]", "`x-consumer-groups` cannot tell a claim"),
        (
            "[{jwt: {issuer: i, jwks: keys.jwks, algorithms: [HS256, RS256]}}]",
            "shared secrets and public keys do not go together",
        ),
        ("[{jwt: {issuer: i, jwks: 'http://id.test/keys'}}]", "keys that come in the clear can be anybody's"),
        ("[{jwt: {issuer: i, jwks: 'ftp://id.test/keys'}}]", "this is no place of keys: `ftp://id.test/keys`"),
        ("[{jwt: {issuer: i, jwks: 'https://a@id.test/keys'}}]", "this is no place of keys: `https://a@id.test/keys`"),
        ("[{jwt: {issuer: i, jwks: keys.json}}]", "a file of this name would be taken for a document"),
        ("[{jwt: {issuer: i}}]", "`jwks` is missing"),
    ],
)
def test_what_cannot_be_asked_is_refused(methods: str, message: str) -> None:
    assert message in [problem.message for problem in problems_of(edge(methods), "gateways/edge.yaml")]


@pytest.mark.parametrize("place", ["http://127.0.0.1:8080/keys", "http://localhost/keys", "keys/id.jwks"])
def test_keys_may_come_from_our_own_host_and_from_files(place: str) -> None:
    assert gateway(f"[{{jwt: {{issuer: i, jwks: '{place}'}}}}]").routes[0].authenticate


@pytest.mark.parametrize(
    ("allow", "message"),
    [
        ("[{}]", "this rule takes everybody"),
        ("[{claims: {role: []}}]", "an empty list matches nothing"),
        ("[{group: [a]}]", "unknown field `group`"),
        ("[{groups: ['a b']}]", "this is not a group: `a b`"),
    ],
)
def test_a_rule_that_says_nothing_is_refused(allow: str, message: str) -> None:
    assert only(problems_of(edge("[{key: {}}]", allow), "gateways/edge.yaml")).message == message


def test_a_consumer_is_read_and_what_proves_it_is_shown_to_nobody() -> None:
    text = f"groups: [a, b]\nkeys: [{{sha256: {DIGEST}}}]\npasswords: [{{argon2: '{ARGON2}'}}]\n"
    model = consumer(text + "tokens: [{issuer: i, value: ann}]\n")

    assert (model.keys[0].sha256, model.passwords[0].argon2, model.tokens[0].claim) == (DIGEST, ARGON2, "sub")
    shown = model.model_dump(mode="json", exclude_unset=True)
    assert shown["keys"] == [{"sha256": "(hidden)"}]
    assert shown["passwords"] == [{"argon2": "(hidden)"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keys: [{sha256: swordfish}]", "this is no SHA-256"),
        (f"keys: [{{sha256: {DIGEST.upper()}}}]", "this is no SHA-256"),
        (f"keys: [{{sha256: {DIGEST}}}, {{sha256: {DIGEST}}}]", "this key stands here twice"),
        ("passwords: [{argon2: swordfish}]", "this is no hash of Argon2"),
        ("passwords: [{argon2: 4711}]", "this is not text"),
        ("passwords: [{argon2: $2b$12$swordfish}]", "this is no hash of Argon2"),
        (f"passwords: [{{argon2: '{ARGON2.replace('19456', '999999')}'}}]", "m=999999,t=2,p=1 is out of bounds"),
        (f"passwords: [{{username: 'a:b', argon2: '{ARGON2}'}}]", "this is not a name for a password"),
        ("secret: swordfish", "unknown field `secret`"),
    ],
)
def test_a_mistake_in_a_consumer_is_told_without_what_it_holds(text: str, message: str) -> None:
    problem = only(problems_of(text, "consumers/ann.yaml"))

    assert problem.message == message
    assert "swordfish" not in str(problem)
    assert problem.place.startswith("consumers/ann.yaml:1:")


def test_credentials_are_one_consumers_alone() -> None:
    texts = {
        "consumers/ann.yaml": f"keys: [{{sha256: {DIGEST}}}]\npasswords: [{{argon2: '{ARGON2}'}}]\n",
        "consumers/bob.yaml": f"keys: [{{sha256: {OTHER}}}, {{sha256: {DIGEST}}}]\n",
        "consumers/cid.yaml": f"passwords: [{{username: ann, argon2: '{ARGON2}'}}]\n",
        "consumers/dan.yaml": "tokens: [{issuer: i, value: x}]\n",
        "consumers/eve.yaml": "tokens: [{issuer: i, value: x}, {issuer: j, value: x}]\n",
    }
    world = World().apply(document_set(texts))

    assert {place: only(problems).message for place, problems in world.refusals.items()} == {
        "consumers/bob.yaml": "consumer `ann` has this key, too: nobody could tell who calls",
        "consumers/cid.yaml": "consumer `ann` has this name for a password, too: nobody could tell who calls",
        "consumers/eve.yaml": "consumer `dan` has this token, too: nobody could tell who calls",
    }
    assert world.refusals["consumers/bob.yaml"][0].place == "consumers/bob.yaml:1:93"
    assert list(world.consumers) == ["ann", "dan"]


def test_who_is_anonymous_must_be_a_consumer() -> None:
    asked = edge("[{key: {}}, {anonymous: gest}]")
    world = World().apply(document_set({**SHOP, "gateways/edge.yaml": asked, "consumers/guest.yaml": "{}\n"}))

    problem = only(world.refusals["gateways/edge.yaml"])
    assert (problem.message, problem.hint) == ("there is no consumer `gest`", "did you mean `guest`?")
    good = asked.replace("gest", "guest")
    assert world_of({**SHOP, "gateways/edge.yaml": good, "consumers/guest.yaml": "{}\n"}).consumers.keys() == {"guest"}
