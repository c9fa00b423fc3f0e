"""How the callers of a gateway prove who they are, and the consumers that they may be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sidecar.config.model import Gateway
from sidecar.config.model.authenticate import JwtAuthentication, KeyAuthentication, Method, Proof, proofs
from sidecar.config.model.consumer import Consumer
from sidecar.config.model.gateway import GatewayRoute
from sidecar.snapshot.admission import rate
from sidecar.snapshot.role import GatewayRole, Role
from sidecar.wire import control_pb2 as control
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import World


def methods_of(gateway: Gateway, route: GatewayRoute) -> tuple[Method, ...]:
    """What a route asks for: its own word, or the gateway's."""
    return gateway.authenticate if route.authenticate is None else route.authenticate


def authentication(methods: tuple[Method, ...], realm: str) -> wire.Authentication | None:
    """None: nobody is asked."""
    if not methods:
        return None
    anonymous = methods[-1].anonymous or ""
    alternatives = [
        wire.Alternative(all=map(_method, method.all or (method,))) for method in methods if method.anonymous is None
    ]
    return wire.Authentication(alternatives=alternatives, anonymous=anonymous, realm=realm)


def access(route: GatewayRoute) -> wire.Access | None:
    """None: everybody who is known, or need not be."""
    if route.allow is None:
        return None
    return wire.Access(
        rules=[
            wire.AccessRule(
                consumers=rule.consumers,
                groups=rule.groups,
                claims=[wire.ClaimTest(claim=claim, values=values) for claim, values in rule.claims.items()],
            )
            for rule in route.allow
        ]
    )


def _method(method: Method | Proof) -> wire.Method:
    if method.key is not None:
        return wire.Method(key=wire.KeyMethod(carriers=_key_carriers(method.key)), forward=method.key.forward)
    if method.basic is not None:
        return wire.Method(basic=wire.BasicMethod(), forward=method.basic.forward)
    jwt = method.jwt
    if jwt is None:
        raise AssertionError("the model says exactly one thing")
    made = wire.JwtMethod(
        carriers=_jwt_carriers(jwt),
        issuer=jwt.issuer,
        audiences=jwt.audiences,
        algorithms=jwt.algorithms,
        key_set=jwt.jwks,
        leeway_s=int(jwt.leeway.total_seconds()),
        without_end=not jwt.require_expiration,
        headers=[wire.ClaimHeader(claim=claim, header=name) for name, claim in jwt.claim_headers.items()],
    )
    return wire.Method(jwt=made, forward=jwt.forward)


def _key_carriers(key: KeyAuthentication) -> list[wire.Carrier]:
    said = list(_carriers(key))
    return said or [wire.Carrier(header="x-api-key")]


def _jwt_carriers(jwt: JwtAuthentication) -> list[wire.Carrier]:
    said = list(_carriers(jwt)) or [wire.Carrier(header="authorization")]
    for carrier in said:
        if carrier.header == "authorization":
            carrier.scheme = "Bearer"
    return said


def _carriers(said: KeyAuthentication | JwtAuthentication) -> Iterator[wire.Carrier]:
    if said.header is not None:
        yield wire.Carrier(header=said.header)
    if said.query is not None:
        yield wire.Carrier(query=said.query)
    if said.cookie is not None:
        yield wire.Carrier(cookie=said.cookie)


def key_sets(world: World, role: Role) -> frozenset[str]:
    """The places of the keys that tokens are verified with: URLs and files; none for a sidecar."""
    if not isinstance(role, GatewayRole) or role.name not in world.gateways:
        return frozenset()
    gateway = world.gateways[role.name]
    asked = (methods_of(gateway, route) for route in gateway.routes if route.enabled)
    return frozenset(proof.jwt.jwks for methods in asked for proof in proofs(methods) if proof.jwt is not None)


def credentials(world: World, role: Role, sets: Iterable[control.KeySet]) -> bytes:
    """A Credentials of all consumers that are enabled, serialized; empty for a sidecar."""
    if not isinstance(role, GatewayRole):
        return b""
    consumers = [_consumer(name, said) for name, said in world.consumers.items() if said.enabled]
    made = control.Credentials(consumers=consumers, key_sets=sets)
    return made.SerializeToString(deterministic=True)


def _consumer(name: str, said: Consumer) -> control.Consumer:
    return control.Consumer(
        name=name,
        groups=said.groups,
        keys=[bytes.fromhex(key.sha256) for key in said.keys],
        passwords=[
            control.Password(username=password.username or name, hash=password.argon2) for password in said.passwords
        ],
        rate=None if said.rate_limit is None else rate(said.rate_limit),
        bindings=[control.Binding(issuer=token.issuer, claim=token.claim, value=token.value) for token in said.tokens],
    )
