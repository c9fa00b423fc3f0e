"""Runs what needs the cryptography library in a short-lived process of its own.

The library keeps 12 MiB resident after one leaf was issued (measured, CPython 3.11, cryptography 50), a fifth of an
idle sidecar, for a call that comes once in sixteen hours. The request goes in by standard input and the reply, keys
included, comes back by a pipe that only the two processes hold.
"""

import json
import os
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from sidecar.errors import IdentityError
from sidecar.identity.authority import KeyPair, Leaf
from sidecar.identity.spiffe import ServiceId, expect

# Seconds. A call takes a quarter of one; a CA lock that somebody holds for ever must not hold us too.
ANSWER_WITHIN = 30.0

Json = dict[str, Any]


class LocalIssuer:
    """The local CA, to be asked for leaves."""

    def __init__(self, state_directory: Path, trust_domain: str) -> None:
        self._state_directory = state_directory
        self._trust_domain = trust_domain

    def mark(self) -> object:
        """Which CA is in force: its directory never changes. None before there is one."""
        try:
            return str((self._state_directory / "ca").readlink())
        except OSError:
            return None

    def issue(self, identity: ServiceId) -> Leaf:
        """A new leaf, from a CA that is made on the first use. Raises IdentityError with the next step."""
        reply = _call(
            {
                "issue": {
                    "state_directory": str(self._state_directory.absolute()),
                    "trust_domain": self._trust_domain,
                    "identity": asdict(identity),
                }
            }
        )
        return Leaf(
            certificate_chain=tuple(map(b64decode, reply["certificate_chain"])),
            private_key=b64decode(reply["private_key"]),
            not_before=datetime.fromisoformat(reply["not_before"]),
            not_after=datetime.fromisoformat(reply["not_after"]),
            roots=tuple(map(b64decode, reply["roots"])),
        )


def load(
    pairs: Mapping[str, tuple[Path, Path]], roots: Mapping[str, Path]
) -> tuple[dict[str, KeyPair], dict[str, tuple[bytes, ...]]]:
    """Read chains with their keys, and roots (DER), by name. Raises IdentityError naming the file at fault."""
    reply = _call(
        {
            "load": {
                "pairs": {name: [str(path.absolute()) for path in pair] for name, pair in pairs.items()},
                "roots": {name: str(path.absolute()) for name, path in roots.items()},
            }
        }
    )
    return (
        {
            name: KeyPair(tuple(map(b64decode, pair["certificate_chain"])), b64decode(pair["private_key"]))
            for name, pair in reply["pairs"].items()
        },
        {name: tuple(map(b64decode, held)) for name, held in reply["roots"].items()},
    )


def describe(certificates: Sequence[bytes]) -> list[Json]:
    """What stands in each of these certificates (DER), as `certificates.describe` has it. Raises IdentityError."""
    told: list[Json] = _call({"describe": {"certificates": [b64encode(each).decode() for each in certificates]}})[
        "told"
    ]
    return told


def load_leaf(chain: Path, key: Path, roots: Path, service: str, trust_domain: str) -> tuple[Leaf, ServiceId]:
    """Our own leaf as others keep it in files, of whatever trust domain where that is "". Raises IdentityError."""
    pairs, bundles = load({"leaf": (chain, key)}, {"roots": roots})
    return checked(pairs["leaf"], bundles["roots"], service, trust_domain)


def checked(pair: KeyPair, roots: tuple[bytes, ...], service: str, trust_domain: str) -> tuple[Leaf, ServiceId]:
    """A leaf that peers will take for our service, and its id. Raises IdentityError naming what is wrong with it."""
    told = describe(pair.certificate_chain[:1])[0]
    identity = expect(told["uris"], service, trust_domain)
    if missing := {"client", "server"} - set(told["for"]):
        raise IdentityError(
            f"our certificate is not for {' and '.join(sorted(missing))} authentication: "
            "have its issuer name both in the extended key usage"
        )
    leaf = Leaf(
        certificate_chain=pair.certificate_chain,
        private_key=pair.private_key,
        not_before=datetime.fromisoformat(told["not_before"]),
        not_after=datetime.fromisoformat(told["not_after"]),
        roots=roots,
    )
    return leaf, identity


def _call(request: Json) -> Json:
    try:
        done = subprocess.run(
            # -S: what `site` would add to the path is handed over.
            [sys.executable, "-S", "-m", "sidecar.identity.process"],
            input=json.dumps(request),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=ANSWER_WITHIN,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise IdentityError(
            f"keys and certificates were not ready within {ANSWER_WITHIN:g} s: is the state directory on a slow disk, "
            "or its ca.lock held by a process that hangs?"
        ) from error
    except subprocess.CalledProcessError as error:
        lines = str(error.stderr).strip().splitlines() or ["no message"]
        raise IdentityError(f"the process that handles keys failed ({error.returncode}): {lines[-1]}") from error
    except OSError as error:
        raise IdentityError(f"the process that handles keys cannot be started: {error}") from error
    reply: Json = json.loads(done.stdout)
    if "refused" in reply:
        raise IdentityError(reply["refused"])
    return reply


def _answer(request: Json) -> Json:
    """What the process does."""
    try:
        if "issue" in request:
            return _issue(**request["issue"])
        if "describe" in request:
            return _describe(**request["describe"])
        return _load(**request["load"])
    except IdentityError as error:
        return {"refused": str(error)}


def _issue(state_directory: str, trust_domain: str, identity: Mapping[str, str]) -> Json:
    from sidecar.identity.local_ca import LocalAuthority

    leaf = LocalAuthority(Path(state_directory), trust_domain).issue(ServiceId(**identity))
    return {
        **_plain(leaf),
        "not_before": leaf.not_before.isoformat(),
        "not_after": leaf.not_after.isoformat(),
        "roots": [b64encode(root).decode() for root in leaf.roots],
    }


def _load(pairs: Mapping[str, list[str]], roots: Mapping[str, str]) -> Json:
    from sidecar.identity.files import load_pair, load_roots

    return {
        "pairs": {name: _plain(load_pair(Path(chain), Path(key))) for name, (chain, key) in pairs.items()},
        "roots": {name: [b64encode(root).decode() for root in load_roots(Path(path))] for name, path in roots.items()},
    }


def _describe(certificates: list[str]) -> Json:
    from sidecar.identity.certificates import describe

    return {"told": describe([b64decode(certificate) for certificate in certificates])}


def _plain(pair: KeyPair) -> Json:
    return {
        "certificate_chain": [b64encode(certificate).decode() for certificate in pair.certificate_chain],
        "private_key": b64encode(pair.private_key).decode(),
    }


if __name__ == "__main__":
    json.dump(_answer(json.load(sys.stdin)), sys.stdout)
