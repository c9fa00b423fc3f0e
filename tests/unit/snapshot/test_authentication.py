"""A gateway's `authenticate` and `allow`, and the consumers, become what the data plane asks and knows."""

import hashlib

from sidecar.snapshot import GatewayRole, SidecarRole, compile, credentials, key_sets
from sidecar.wire import control_pb2 as control
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import World
from tests.unit.documents import SHOP, world_of

EDGE = GatewayRole("edge")
DIGEST = hashlib.sha256(b"ann-key").digest()
ARGON2 = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$Oeg3baSSWS7QAao8HYivkySfJr8SK3YSClgKVMwqBwI"
ANN = f"""\
groups: [b, a]
keys: [{{sha256: {DIGEST.hex()}}}]
passwords: [{{argon2: '{ARGON2}'}}, {{username: anna, argon2: '{ARGON2}'}}]
tokens: [{{issuer: i, claim: azp, value: shop}}]
rate_limit: {{requests: 5, per: 1m, burst: 2}}
"""


def world(gateway: str) -> World:
    consumers = {"consumers/ann.yaml": ANN, "consumers/bob.yaml": "enabled: false\n", "consumers/guest.yaml": "{}\n"}
    return world_of({**SHOP, **consumers, "gateways/edge.yaml": f"listeners: [{{port: 8080}}]\n{gateway}"})


def routes(gateway: str) -> list[wire.Route]:
    (table,) = compile(world(gateway), EDGE, 1).route_tables
    return list(table.routes)


def route(name: str, **fields: str) -> str:
    said = "".join(f", {field}: {value}" for field, value in fields.items())
    return f"  - {{name: {name}, match: {{host: {name}.test}}, to: {{service: inventory}}{said}}}\n"


def test_a_routes_own_word_goes_before_the_gateways() -> None:
    text = "authenticate: [{key: {}}]\nroutes:\n"
    text += route("by-default") + route("own", authenticate="[{basic: {}}]") + route("open", authenticate="[]")
    default, own, open_ = routes(text)

    assert [method.WhichOneof("kind") for method in default.authentication.alternatives[0].all] == ["key"]
    assert default.authentication.alternatives[0].all[0].key.carriers[0].header == "x-api-key"
    assert default.authentication.realm == "edge"
    assert [method.WhichOneof("kind") for method in own.authentication.alternatives[0].all] == ["basic"]
    assert not open_.HasField("authentication")
    assert not default.HasField("access")


def test_all_that_a_token_must_be_is_told() -> None:
    jwt = "{issuer: i, jwks: keys.jwks, audiences: [a], leeway: 5s, cookie: t, query: q, claim_headers: {x-u: sub}}"
    methods = f"[{{all: [{{key: {{query: key, forward: true}}}}, {{jwt: {jwt}}}]}}, {{anonymous: guest}}]"
    (made,) = routes("routes:\n" + route("all", authenticate=methods))

    ((key, token),) = [alternative.all for alternative in made.authentication.alternatives]
    assert (made.authentication.anonymous, key.forward, token.forward) == ("guest", True, False)
    assert [carrier.query for carrier in key.key.carriers] == ["key"]
    assert [(carrier.query, carrier.cookie) for carrier in token.jwt.carriers] == [("q", ""), ("", "t")]
    assert (token.jwt.key_set, list(token.jwt.audiences), token.jwt.leeway_s) == ("keys.jwks", ["a"], 5)
    assert "RS256" in token.jwt.algorithms
    assert "HS256" not in token.jwt.algorithms
    assert [(told.claim, told.header) for told in token.jwt.headers] == [("sub", "x-u")]


def test_a_token_stands_behind_its_scheme_where_nothing_is_said() -> None:
    (made,) = routes("routes:\n" + route("all", authenticate="[{jwt: {issuer: i, jwks: keys.jwks}}]"))

    (carrier,) = made.authentication.alternatives[0].all[0].jwt.carriers
    assert (carrier.header, carrier.scheme) == ("authorization", "Bearer")


def test_preflights_show_no_credentials_and_are_asked_for_none() -> None:
    cors = "{allow_origins: ['https://a.test']}"
    preflight, leading = routes(
        "routes:\n" + route("all", authenticate="[{key: {}}]", cors=cors, allow="[{groups: [a]}]")
    )

    assert preflight.preflight
    assert not preflight.HasField("authentication")
    assert not preflight.HasField("access")
    assert leading.HasField("authentication")
    assert list(leading.access.rules[0].groups) == ["a"]


def test_rules_are_told_and_no_rule_is_nobody() -> None:
    allow = "[{consumers: [ann], claims: {role: admin, scope: [a, b]}}]"
    some, none = routes("authenticate: [{key: {}}]\nroutes:\n" + route("some", allow=allow) + route("none", allow="[]"))

    (rule,) = some.access.rules
    assert [(test.claim, list(test.values)) for test in rule.claims] == [("role", ["admin"]), ("scope", ["a", "b"])]
    assert none.HasField("access")
    assert not none.access.rules


def test_the_data_plane_knows_who_is_enabled_and_a_sidecar_knows_nobody() -> None:
    known = world("routes: []\n")
    told = control.Credentials.FromString(credentials(known, EDGE, [control.KeySet(name="keys.jwks")]))

    ann, guest = told.consumers
    assert (ann.name, guest.name, list(ann.groups), list(ann.keys)) == ("ann", "guest", ["b", "a"], [DIGEST])
    assert [(password.username, password.hash) for password in ann.passwords] == [("ann", ARGON2), ("anna", ARGON2)]
    assert [(bound.issuer, bound.claim, bound.value) for bound in ann.bindings] == [("i", "azp", "shop")]
    assert (ann.rate.requests, ann.rate.period_ms, ann.rate.burst, len(ann.rate.by)) == (5, 60_000, 2, 0)
    assert not guest.HasField("rate")
    assert [keys.name for keys in told.key_sets] == ["keys.jwks"]
    assert credentials(known, SidecarRole("orders"), []) == b""


def test_keys_are_wanted_of_each_place_that_an_enabled_route_names() -> None:
    def jwt(place: str) -> str:
        return f"[{{jwt: {{issuer: i, jwks: '{place}'}}}}]"

    text = f"authenticate: {jwt('https://a.test/keys')}\nroutes:\n" + route("by-default")
    text += route("own", authenticate=f"[{{all: [{{key: {{}}}}, {jwt('b.jwks')[1:-1]}]}}]")
    text += route("off", authenticate=jwt("c.jwks"), enabled="false")

    assert key_sets(world(text), EDGE) == {"https://a.test/keys", "b.jwks"}
    assert key_sets(world(text), SidecarRole("orders")) == frozenset()
    assert key_sets(world(text), GatewayRole("other")) == frozenset()
