"""How the callers of a gateway prove who they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sidecar.config.model.base import Duration, Finding, Label, Model, refusal, refuse_all
from sidecar.config.model.consumer import Group
from sidecar.config.model.header import CookieName, HeaderName, ParameterName

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256", "HS384", "HS512"
]
PUBLIC: tuple[Algorithm, ...] = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
_SHARED = ("HS256", "HS384", "HS512")

_URL = re.compile(r"(https?)://([^/?#@]+?)(?::[0-9]{1,5})?(?:[/?][^#]*)?")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_KEYS_EXPECTED = "https://id.example.com/keys, or a file with a JSON Web Key Set, such as id.jwks"
_LONGEST_LEEWAY = timedelta(minutes=10)
# Fields that our own words stand in, frame messages, or lead a request elsewhere.
_NOT_TOLD = frozenset(
    {"authorization", "connection", "content-length", "cookie", "te", "trailer", "transfer-encoding", "upgrade"}
)
_FORWARD = "true: the service gets the credentials, too."


def is_url(jwks: str) -> bool:
    """Whether keys come by the network; else they are in a file."""
    return "://" in jwks


def _check_jwks(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not is_url(value):
        if not value.startswith("/") and value.endswith((".json", ".yaml", ".yml")):
            hint = f"did you mean `{value.rpartition('.')[0]}.jwks`?"
            raise refusal("a file of this name would be taken for a document", expected=_KEYS_EXPECTED, hint=hint)
        return value
    match = _URL.fullmatch(value)
    if match is None:
        raise refusal(f"this is no place of keys: `{value}`", expected=_KEYS_EXPECTED)
    if match[1] == "http" and match[2] not in _LOOPBACK:
        hint = f"did you mean `https{value.removeprefix('http')}`?"
        raise refusal("keys that come in the clear can be anybody's", expected=_KEYS_EXPECTED, hint=hint)
    return value


def _check_leeway(value: timedelta) -> timedelta:
    if value > _LONGEST_LEEWAY:
        raise refusal("clocks do not differ that much", expected="10m at most")
    return value


def _check_algorithms(algorithms: tuple[Algorithm, ...]) -> tuple[Algorithm, ...]:
    if not algorithms:
        raise refusal("no token could be good", expected=f"some of {', '.join((*PUBLIC, *_SHARED))}")
    return algorithms


def _check_told(headers: dict[str, str]) -> dict[str, str]:
    found: list[Finding] = [
        (
            (name, "[key]"),
            name,
            refusal(f"`{name}` cannot tell a claim", expected="a header of its own, such as x-user"),
        )
        for name in headers
        if name in _NOT_TOLD or name.startswith("x-consumer-")
    ]
    refuse_all(found)
    return headers


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _check_values(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise refusal("an empty list matches nothing", expected="a value, or a list of values")
    return values


ClaimValues = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), AfterValidator(_check_values)]


class KeyAuthentication(Model):
    """A key of a consumer."""

    header: HeaderName | None = Field(default=None, description="Where it stands; x-api-key where nothing is said.")
    query: ParameterName | None = Field(
        default=None, description="A parameter of the query, as it is written. Others may log it; a header is better."
    )
    cookie: CookieName | None = Field(default=None, description="A cookie.")
    forward: bool = Field(default=False, description=_FORWARD)


class BasicAuthentication(Model):
    """A name and a password of a consumer (RFC 7617)."""

    forward: bool = Field(default=False, description=_FORWARD)


class JwtAuthentication(Model):
    """A JSON Web Token (RFC 7519) of one issuer, in `Authorization: Bearer` where nothing else is said."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"discovery", "introspection", "require"})

    issuer: str = Field(min_length=1, max_length=1024, description="`iss` of its tokens, to the letter.")
    jwks: Annotated[str, BeforeValidator(_check_jwks)] = Field(
        min_length=1,
        description="Its keys (JWK Set, RFC 7517): a URL, fetched anew every five minutes and when a token names a key "
        "that is not known; or a file, read again when it changes. Relative paths start at the configuration "
        "directory.",
    )
    audiences: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="A token is for one of these (`aud`). Left out: it may be for anybody."
    )
    algorithms: Annotated[tuple[Algorithm, ...], AfterValidator(_check_algorithms)] = Field(
        default=PUBLIC,
        description="How tokens may be signed; all others are refused. HS256, HS384 and HS512 share a secret with the "
        "issuer, which must be in a file, and stand alone.",
    )
    # As Envoy (jwt_authn).
    leeway: Annotated[Duration, AfterValidator(_check_leeway)] = Field(
        default=timedelta(seconds=60), description="How much the issuer's clock and ours may differ."
    )
    require_expiration: bool = Field(default=True, description="false: a token without `exp` is good for ever.")
    header: HeaderName | None = Field(
        default=None, description="Its whole value is the token; of authorization `Bearer`."
    )
    query: ParameterName | None = Field(default=None, description="A parameter of the query.")
    cookie: CookieName | None = Field(default=None, description="A cookie.")
    claim_headers: Annotated[dict[HeaderName, Annotated[str, Field(min_length=1)]], AfterValidator(_check_told)] = (
        Field(
            default={},
            description="What the service is told: `x-user: sub`. Dots lead into claims, `realm_access.roles`; lists "
            "get commas. What callers say by these names is taken away.",
        )
    )
    forward: bool = Field(default=False, description=_FORWARD)

    @model_validator(mode="after")
    def _check_secrets(self) -> Self:
        shared = [algorithm for algorithm in self.algorithms if algorithm in _SHARED]
        if shared and len(shared) < len(self.algorithms):
            # What is public to one would be the secret of the other.
            error = refusal("shared secrets and public keys do not go together", expected="two `jwt`, one for each")
            refuse_all([(("algorithms",), self.algorithms, error)])
        if shared and is_url(self.jwks):
            error = refusal("a shared secret does not come by a URL", expected="a file with a key of `kty: oct`")
            refuse_all([(("jwks",), self.jwks, error)])
        return self


class Method(Model):
    """One way to prove it; exactly one field is said."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"forward_auth", "oidc", "certificate", "hmac", "ldap"})

    key: KeyAuthentication | None = Field(default=None, description="A key of a consumer.")
    basic: BasicAuthentication | None = Field(default=None, description="A name and a password of a consumer.")
    jwt: JwtAuthentication | None = Field(default=None, description="A JSON Web Token.")
    all: tuple[Proof, ...] | None = Field(
        default=None, description="All of these together, of one consumer.", min_length=2, max_length=4
    )
    anonymous: Label | None = Field(
        default=None, description="Who shows no credentials is this consumer; wrong ones are refused. Stands last."
    )

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        refuse_all(_wrong_number(self, "key", "basic", "jwt", "all", "anonymous"))
        return self


class Proof(Model):
    """One of several ways that are asked for together; exactly one field is said."""

    not_yet: ClassVar[frozenset[str]] = Method.not_yet

    key: KeyAuthentication | None = Field(default=None, description="A key of a consumer.")
    basic: BasicAuthentication | None = Field(default=None, description="A name and a password of a consumer.")
    jwt: JwtAuthentication | None = Field(default=None, description="A JSON Web Token.")

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        refuse_all(_wrong_number(self, "key", "basic", "jwt"))
        return self


class Access(Model):
    """Whom a rule takes: all parts must hold, and a part that is left out says nothing."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"source", "methods", "path", "from"})

    consumers: tuple[Label, ...] = Field(default=(), description="Any of these consumers.", max_length=64)
    groups: tuple[Group, ...] = Field(default=(), description="A consumer of any of these groups.", max_length=64)
    claims: dict[Annotated[str, Field(min_length=1)], ClaimValues] = Field(
        default={},
        description="What the token says: `{role: admin}`, `{role: [admin, editor]}` for any of them. A claim that is "
        "a list has one of them, of `scope` a word is one.",
    )

    @model_validator(mode="after")
    def _check_said(self) -> Self:
        if not (self.consumers or self.groups or self.claims):
            error = refusal("this rule takes everybody", expected=f"some of {', '.join(type(self).model_fields)}")
            refuse_all([((), self, error)])
        return self


def _wrong_number(said: Model, *names: str) -> Iterator[Finding]:
    if sum(getattr(said, name) is not None for name in names) != 1:
        yield (), said, refusal("a method says one thing", expected=f"one of {', '.join(names)}")


def _check_methods(methods: tuple[Method, ...]) -> tuple[Method, ...]:
    found: list[Finding] = [
        ((index, "anonymous"), method.anonymous, refusal("nothing behind it would count", expected="the last place"))
        for index, method in enumerate(methods[:-1])
        if method.anonymous is not None
    ]
    if len(methods) == 1 and methods[0].anonymous is not None:
        found.append(((0,), methods[0], refusal("nobody could be anybody else", expected="another method before it")))
    refuse_all(found)
    return methods


# Any of them is enough.
Methods = Annotated[tuple[Method, ...], Field(max_length=8), AfterValidator(_check_methods)]


def proofs(methods: tuple[Method, ...]) -> Iterator[Method | Proof]:
    """Each key, basic and jwt of them."""
    for method in methods:
        if method.anonymous is None:
            yield from method.all or (method,)
