"""Pure: the `LoadBalancer` of a resolver becomes ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from sidecar.config.model.load_balancer import LoadBalancer
from sidecar.consul.duration import duration
from sidecar.consul.fields import Json

# Consul's names are ours.
_POLICIES = ("random", "round_robin", "least_request", "ring_hash", "maglev")
_FIELDS = {"header": "header", "cookie": "cookie", "query_parameter": "query"}
# More than these cost more than they find out: the bound of a document's.
MOST_CHOICES = 10
_HASHED = ("ring_hash", "maglev")


def load_balancer(told: Json) -> tuple[LoadBalancer | None, list[str]]:
    """What it asks for, None for nothing; and what of it is not carried out: "Policy sticky"."""
    policy = told.get("Policy")
    if not policy:
        return None, []
    if policy not in _POLICIES:
        return None, [f"Policy {policy}"]
    said: dict[str, Any] = {"policy": policy}
    ring, least = told.get("RingHashConfig") or {}, told.get("LeastRequestConfig") or {}
    if policy == "least_request" and (choices := least.get("ChoiceCount")):
        said["choices"] = min(choices, MOST_CHOICES)
    if policy == "ring_hash":
        sizes = {"min_ring_size": ring.get("MinimumRingSize"), "max_ring_size": ring.get("MaximumRingSize")}
        said |= {name: size for name, size in sizes.items() if size}
    if policy in _HASHED:
        # Without a policy of hashing each request goes anywhere, as Envoy does: that is random.
        said |= {"hash": tuple(_parts(told))} if told.get("HashPolicies") else {"policy": "random"}
    try:
        return LoadBalancer.model_validate(said), []
    except ValidationError as error:
        return None, [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]


def _parts(told: Json) -> Iterator[Json]:
    for hashed in told["HashPolicies"]:
        part: dict[str, Any] = {"terminal": bool(hashed.get("Terminal"))}
        if hashed.get("SourceIP"):
            part["source"] = True
        elif (field := _FIELDS.get(hashed.get("Field"))) is not None:
            name = str(hashed.get("FieldValue"))
            part[field] = name.lower() if field == "header" else name
        if (cookie := hashed.get("CookieConfig")) and "cookie" in part:
            ttl = duration(cookie.get("TTL"))
            if cookie.get("Session") or ttl is not None:
                part["ttl"] = "0s" if cookie.get("Session") or ttl is None else ttl
            if path := cookie.get("Path"):
                part["path"] = path
        yield part
