"""A world and a leaf as JSON and back, for the files of the last good world.

Documents are kept as the text that people wrote and are read again, so what a newer version refuses is refused alone.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, TypeVar

from sidecar.config import where
from sidecar.config.document import Document, DocumentSet, Key
from sidecar.config.load import load
from sidecar.config.model.header_modifier import HeaderModifier
from sidecar.config.model.load_balancer import LoadBalancer
from sidecar.config.model.path import parse_path
from sidecar.config.model.retry import Retry
from sidecar.config.model.route import Match
from sidecar.config.model.value_match import ValueMatch
from sidecar.defaults import Calls, Local
from sidecar.errors import ConfigError, Problem
from sidecar.identity.authority import Leaf
from sidecar.intentions import FieldTest, Intention, Intentions, Permission
from sidecar.world import (
    Chain,
    ChainBranch,
    ChainMatch,
    ChainRoute,
    ChainsUpdate,
    HeaderTest,
    Instance,
    Site,
    Target,
    World,
)

Json = Any
S = TypeVar("S", Calls, Local)

_TIMES = frozenset({"connect_timeout", "request_timeout", "ejection"})
_SHARES = frozenset({"max_ejected"})


def encode_leaf(leaf: Leaf) -> Json:
    """With the key in it: for a file of mode 0600 alone."""
    return {
        "certificate_chain": [b64encode(certificate).decode() for certificate in leaf.certificate_chain],
        "private_key": b64encode(leaf.private_key).decode(),
        "not_before": leaf.not_before.isoformat(),
        "not_after": leaf.not_after.isoformat(),
        "roots": [b64encode(root).decode() for root in leaf.roots],
    }


def decode_leaf(value: Json) -> Leaf:
    """The other way. Raises KeyError, TypeError or ValueError, as all of this module, for what we did not write."""
    return Leaf(
        certificate_chain=tuple(map(b64decode, value["certificate_chain"])),
        private_key=b64decode(value["private_key"]),
        not_before=datetime.fromisoformat(value["not_before"]),
        not_after=datetime.fromisoformat(value["not_after"]),
        roots=tuple(map(b64decode, value["roots"])),
    )


def encode_world(world: World) -> Json:
    """All but the refusals: they are of texts that are not kept."""
    return {
        "documents": [
            {
                "kind": key.kind,
                "name": key.name,
                "place": document.place,
                "index": document.index,
                "text": document.text,
            }
            for key, document in world.documents.items()
        ],
        "discovered": world.discovered,
        "endpoints": [
            {"target": target, "instances": [_encode_instance(instance) for instance in instances]}
            for target, instances in {**world.idle, **world.endpoints}.items()
        ],
        "names": {datacenter: sorted(names) for datacenter, names in world.names.items()},
        "queries": dict(world.queries),
        "entries": {
            "chains": {service: _encode_chain(chain) for service, chain in world.entries.chains.items()},
            "protocol": world.entries.protocol,
            "local": _encode_plain(world.entries.local),
            "not_carried_out": world.entries.not_carried_out,
        },
        "intentions": asdict(world.intentions) if world.intentions else None,
        "site": asdict(world.site) if world.site else None,
    }


def decode_world(value: Json) -> World:
    """The other way."""
    entries = value["entries"]
    chains = {service: _decode_chain(chain) for service, chain in entries["chains"].items()}
    endpoints = {
        Target(*known["target"]): tuple(_decode_instance(instance) for instance in known["instances"])
        for known in value["endpoints"]
    }
    return replace(
        World().apply(_decode_documents(value["documents"], discovered=value["discovered"])),
        endpoints=MappingProxyType(endpoints),
        queries=MappingProxyType(value["queries"]),
        names=MappingProxyType({datacenter: frozenset(names) for datacenter, names in value["names"].items()}),
        entries=ChainsUpdate(
            MappingProxyType(chains),
            entries["protocol"],
            _decode_plain(Local, entries["local"]),
            tuple(entries["not_carried_out"]),
        ),
        intentions=_decode_intentions(value["intentions"]) if value["intentions"] else None,
        site=Site(**value["site"]) if value["site"] else None,
    )


def _decode_intentions(value: Json) -> Intentions:
    return Intentions(
        tuple(_decode_intention(intention) for intention in value["found"]),
        value["default_allow"],
        tuple(value["not_carried_out"]),
    )


def _decode_intention(value: Json) -> Intention:
    permissions = tuple(_decode_permission(permission) for permission in value["permissions"])
    return Intention(**{**value, "permissions": permissions, "providers": tuple(value["providers"])})


def _decode_permission(value: Json) -> Permission:
    path = value["path"]
    return Permission(
        allow=value["allow"],
        path=(path[0], path[1]) if path else None,
        methods=tuple(value["methods"]),
        headers=tuple(FieldTest(**test) for test in value["headers"]),
        providers=tuple(value["providers"]),
    )


def _decode_documents(saved: Json, *, discovered: bool) -> DocumentSet:
    documents: dict[Key, Document] = {}
    refusals: dict[str, tuple[Problem, ...]] = {}
    for item in saved:
        key = Key(item["kind"], item["name"])
        try:
            documents[key] = replace(load(item["place"], item["text"].encode(), key), index=item["index"])
        except ConfigError as error:
            refusals[item["place"]] = error.problems
    return DocumentSet(documents, refusals, discovered=discovered)


def _encode_instance(instance: Instance) -> Json:
    return [
        instance.id,
        instance.address,
        instance.weight,
        instance.tags,
        dict(instance.meta),
        instance.healthy,
        instance.warning,
        instance.serves,
    ]


def _decode_instance(value: Json) -> Instance:
    name, address, weight, tags, meta, healthy, warning, serves = value
    return Instance(name, address, weight, tuple(tags), meta, healthy, warning, serves)


def _encode_chain(chain: Chain) -> Json:
    return {
        "protocol": chain.protocol,
        "routes": [_encode_route(route) for route in chain.routes],
        "subsets": [[*name, test.text if test else None] for name, test in chain.subsets.items()],
        "load_balancer": _encode_balancer(chain.load_balancer),
        "connect_timeout": _encode_time(chain.connect_timeout),
        "only_passing": sorted(chain.only_passing),
        "failover": list(chain.failover.items()),
        "local": _encode_plain(chain.local),
        "calls": {service: _encode_plain(calls) for service, calls in chain.calls.items()},
        "not_carried_out": chain.not_carried_out,
    }


def _decode_chain(value: Json) -> Chain:
    subsets = {
        (service, subset): where.parse(text) if text is not None else None for service, subset, text in value["subsets"]
    }
    return Chain(
        protocol=value["protocol"],
        routes=tuple(_decode_route(route) for route in value["routes"]),
        subsets=subsets,
        load_balancer=_decode_balancer(value["load_balancer"]),
        connect_timeout=_decode_time(value["connect_timeout"]),
        only_passing=frozenset((service, subset) for service, subset in value["only_passing"]),
        failover={Target(*target): tuple(Target(*other) for other in others) for target, others in value["failover"]},
        local=_decode_plain(Local, value["local"]),
        calls={service: _decode_plain(Calls, calls) for service, calls in value["calls"].items()},
        not_carried_out=tuple(value["not_carried_out"]),
    )


def _encode_balancer(balancer: LoadBalancer | None) -> Json:
    return balancer.model_dump(mode="json", exclude_unset=True) if balancer is not None else None


def _decode_balancer(value: Json) -> LoadBalancer | None:
    # JSON has lists where a document has tuples.
    return LoadBalancer.model_validate(value, strict=False) if value is not None else None


def _encode_route(route: ChainRoute) -> Json:
    return {
        "name": route.name,
        "destinations": [[branch.target, branch.weight, _encode_headers(branch)] for branch in route.destinations],
        "match": route.match.plain.model_dump(mode="json", exclude_defaults=True),
        "path_regex": route.match.path_regex,
        "tests": [[test.name, test.value.model_dump(mode="json"), test.invert] for test in route.match.headers],
        "headers": _encode_headers(route),
        "rewrite": str(route.rewrite) if route.rewrite else None,
        "timeout": _encode_time(route.timeout),
        "retry": route.retry.model_dump(mode="json", exclude_defaults=True) if route.retry else None,
    }


def _decode_route(value: Json) -> ChainRoute:
    return ChainRoute(
        name=value["name"],
        destinations=tuple(
            ChainBranch(Target(*target), weight, **_decode_headers(headers))
            for target, weight, headers in value["destinations"]
        ),
        match=ChainMatch(
            # JSON has lists where a document has tuples.
            Match.model_validate(value["match"], strict=False),
            value["path_regex"],
            tuple(HeaderTest(name, ValueMatch.model_validate(told), invert) for name, told, invert in value["tests"]),
        ),
        rewrite=parse_path(value["rewrite"]) if value["rewrite"] is not None else None,
        timeout=_decode_time(value["timeout"]),
        retry=_decode_retry(value["retry"]),
        **_decode_headers(value["headers"]),
    )


def _encode_headers(item: ChainRoute | ChainBranch) -> Json:
    told = {"request_headers": item.request_headers, "response_headers": item.response_headers}
    return {name: modifier.model_dump(mode="json") for name, modifier in told.items() if modifier is not None}


def _decode_headers(value: Json) -> dict[str, HeaderModifier]:
    return {name: HeaderModifier.model_validate(told, strict=False) for name, told in value.items()}


def _decode_retry(value: Json | None) -> Retry | None:
    if value is None:
        return None
    return Retry.model_validate({**value, "on": tuple(value["on"])} if "on" in value else value)


def _encode_plain(settings: Calls | Local) -> Json:
    """Times and numbers by name; what is not said is left out."""
    told = {name: value for name, value in asdict(settings).items() if value is not None}
    return {name: _encode_setting(value) for name, value in told.items()}


def _decode_plain(kind: type[S], value: Json) -> S:
    said: dict[str, Any] = {name: _decode_setting(name, item) for name, item in value.items()}
    return kind(**said)


def _encode_setting(value: object) -> Json:
    if isinstance(value, timedelta):
        return _encode_time(value)
    return str(value) if isinstance(value, Decimal) else value


def _decode_setting(name: str, item: Json) -> object:
    if name in _SHARES:
        return Decimal(item)
    return _decode_time(item) if name in _TIMES else item


def _encode_time(duration: timedelta | None) -> float | None:
    return duration.total_seconds() if duration is not None else None


def _decode_time(seconds: float | None) -> timedelta | None:
    return timedelta(seconds=seconds) if seconds is not None else None
