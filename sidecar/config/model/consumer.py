"""A consumer document: who may call a gateway, and what it proves that with."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from sidecar.config.model.admission import Rate
from sidecar.config.model.base import Finding, Model, refusal, refuse_all

# What a reader of the configuration is shown instead.
_HIDDEN = "(hidden)"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_DIGEST_EXPECTED = "64 digits of 0-9 and a-f, as `printf %s KEY | sha256sum` prints them"
# The PHC string format (https://github.com/P-H-C/phc-string-format): salt and hash of at least 8 and 16 bytes.
_ARGON2 = re.compile(
    r"\$argon2(?:id|i|d)\$v=19\$m=([0-9]{1,7}),t=([0-9]{1,3}),p=([0-9]{1,2})\$[A-Za-z0-9+/]{11,64}\$[A-Za-z0-9+/]{22,86}"
)
_ARGON2_EXPECTED = "a line such as `argon2 SALT -id -e` prints: $argon2id$v=19$m=19456,t=2,p=1$...$..."
# As the data plane has them: one check takes a quarter of a GiB and a second at most.
_MOST_MEMORY, _MOST_PASSES, _MOST_LANES = 256 * 1024, 16, 16
# No colon: it ends the name in a request (RFC 7617).
_USERNAME = re.compile(r"[^:\x00-\x1f\x7f]{1,128}")
# It stands in a field, between commas.
_GROUP_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,62}"


def _check_digest(value: object) -> object:
    if isinstance(value, str) and not _DIGEST.fullmatch(value):
        hint = "write it in lower case" if _DIGEST.fullmatch(value.lower()) else ""
        raise refusal("this is no SHA-256", expected=_DIGEST_EXPECTED, hint=hint)
    return value


def _check_argon2(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _ARGON2.fullmatch(value)
    if match is None:
        raise refusal("this is no hash of Argon2", expected=_ARGON2_EXPECTED)
    memory, passes, lanes = map(int, match.groups())
    if not (8 * lanes <= memory <= _MOST_MEMORY and 1 <= passes <= _MOST_PASSES and 1 <= lanes <= _MOST_LANES):
        most = f"at most m={_MOST_MEMORY},t={_MOST_PASSES},p={_MOST_LANES}"
        raise refusal(f"m={memory},t={passes},p={lanes} is out of bounds", expected=most)
    return value


def _check_username(value: object) -> object:
    if isinstance(value, str) and not _USERNAME.fullmatch(value):
        raise refusal("this is not a name for a password", expected="1 to 128 characters without a colon")
    return value


def _check_group(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(_GROUP_PATTERN, value):
        raise refusal(f"this is not a group: `{value}`", expected="1 to 63 letters, digits and . _ : / -")
    return value


def _hidden(value: object) -> str:
    return _HIDDEN


Digest = Annotated[
    str,
    BeforeValidator(_check_digest),
    PlainSerializer(_hidden),
    Field(json_schema_extra={"pattern": f"^{_DIGEST.pattern}$"}),
]
Argon2 = Annotated[
    str,
    BeforeValidator(_check_argon2),
    PlainSerializer(_hidden),
    Field(json_schema_extra={"pattern": f"^{_ARGON2.pattern}$"}),
]
Username = Annotated[str, BeforeValidator(_check_username)]
Group = Annotated[str, BeforeValidator(_check_group), Field(json_schema_extra={"pattern": f"^{_GROUP_PATTERN}$"})]


class ApiKey(Model):
    """A secret text that its requests show; the document has only its digest."""

    sha256: Digest = Field(
        description="SHA-256 of the key: `printf %s KEY | sha256sum`. Make keys of 16 bytes or more."
    )


class Password(Model):
    """A name and a password for basic authentication."""

    username: Username | None = Field(default=None, description="Left out: the consumer's own name.")
    argon2: Argon2 = Field(description="The password's hash: `argon2 SALT -id -k 19456 -t 2 -p 1 -e`.")


class Token(Model):
    """Tokens (JWT) that are this consumer's."""

    issuer: str = Field(min_length=1, description="As `iss` of the token says it.")
    claim: str = Field(default="sub", min_length=1, description="Which claim tells whose it is.")
    value: str = Field(min_length=1, description="What it says.")


def _check_keys(keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
    seen: set[str] = set()
    found: list[Finding] = []
    for index, key in enumerate(keys):
        if key.sha256 in seen:
            found.append(((index, "sha256"), _HIDDEN, refusal("this key stands here twice")))
        seen.add(key.sha256)
    refuse_all(found)
    return keys


class Consumer(Model):
    """Somebody who may call gateways. Several keys are good at a time: a new one is added before the old one goes."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"limits", "certificates", "plugins"})

    enabled: bool = Field(default=True, description="false: nothing that it shows is good, and nothing is deleted.")
    groups: tuple[Group, ...] = Field(default=(), description="What rules may say of several consumers.")
    keys: Annotated[tuple[ApiKey, ...], AfterValidator(_check_keys)] = Field(
        default=(), description="Any of them is good."
    )
    passwords: tuple[Password, ...] = Field(default=(), description="For basic authentication.")
    tokens: tuple[Token, ...] = Field(default=(), description="Which tokens are its own.")
    rate_limit: Rate | None = Field(
        default=None,
        description="How many requests it makes at each gateway, whatever their routes. Of the consumer that is "
        "there for who shows no credentials each address has as many.",
    )
