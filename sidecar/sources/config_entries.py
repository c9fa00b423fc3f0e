"""Pure: what Consul's config entries say of one service's own sidecar and of its calls, and what of them is left out.

Which fields are carried out stands in one table for each kind. Every other field that is written is named, so one that
a newer Consul has cannot be ignored silently.
"""

from __future__ import annotations

from collections.abc import Mapping

from sidecar.consul import passive
from sidecar.consul.fields import Done, Json, beyond
from sidecar.consul.opaque import LOCAL, PROTOCOLS, milliseconds, number
from sidecar.defaults import Calls, Local

# Every entry's own; they ask for nothing. Namespaces and partitions are those that we asked for.
_PLAIN: Done = dict.fromkeys(("Kind", "Name", "Namespace", "Partition", "Meta", "CreateIndex", "ModifyIndex", "Hash"))
_MESH_GATEWAY: Done = {"Mode": frozenset({"none"})}
_UPSTREAM: Done = {
    "Name": None,
    "ConnectTimeoutMs": None,
    "Limits": dict.fromkeys(("MaxConnections", "MaxPendingRequests", "MaxConcurrentRequests")),
    "PassiveHealthCheck": passive.ENTRY,
    "MeshGateway": _MESH_GATEWAY,
}
_WHERE_TO: Done = dict.fromkeys(("Service", "ServiceSubset", "Namespace", "Partition"))
_HEADERS: Done = dict.fromkeys(("RequestHeaders", "ResponseHeaders"), dict.fromkeys(("Add", "Set", "Remove")))
# What compiled_chain judges by its value is done here.
_ROUTE: Done = {
    "Match": {
        "HTTP": {
            **dict.fromkeys(("PathExact", "PathPrefix", "PathRegex", "CaseInsensitive", "Methods")),
            "QueryParam": dict.fromkeys(("Name", "Present", "Exact", "Regex")),
            "Header": dict.fromkeys(("Name", "Present", "Exact", "Prefix", "Suffix", "Regex", "Invert")),
        }
    },
    "Destination": {
        **_WHERE_TO,
        **_HEADERS,
        **dict.fromkeys(("PrefixRewrite", "RequestTimeout", "NumRetries")),
        **dict.fromkeys(("RetryOn", "RetryOnConnectFailure", "RetryOnStatusCodes")),
    },
}
DONE: Mapping[str, Done] = {
    "service-defaults": {
        **dict.fromkeys(("Protocol", "LocalConnectTimeoutMs", "LocalRequestTimeoutMs", "MaxInboundConnections")),
        "MaxRequestHeadersKB": None,
        "MutualTLSMode": frozenset({"strict", "permissive"}),
        # A sidecar has one worker, which takes every connection.
        "BalanceInboundConnections": None,
        "Mode": frozenset({"direct"}),
        "MeshGateway": _MESH_GATEWAY,
        "UpstreamConfig": {"Defaults": _UPSTREAM, "Overrides": _UPSTREAM},
    },
    "proxy-defaults": {
        "Config": {"protocol": None, **LOCAL},
        "Mode": frozenset({"direct"}),
        "MutualTLSMode": frozenset({"strict", "permissive"}),
        "MeshGateway": _MESH_GATEWAY,
    },
    "service-router": {"Routes": _ROUTE},
    "service-splitter": {"Splits": {"Weight": None, **_WHERE_TO, **_HEADERS}},
    "service-resolver": {
        **dict.fromkeys(("DefaultSubset", "ConnectTimeout", "RequestTimeout")),
        "Subsets": {"*": dict.fromkeys(("Filter", "OnlyPassing"))},
        "Redirect": {**_WHERE_TO, **dict.fromkeys(("Datacenter", "Peer"))},
        "Failover": {
            "*": {
                **_WHERE_TO,
                "Datacenters": None,
                "Targets": {**_WHERE_TO, **dict.fromkeys(("Datacenter", "Peer"))},
            }
        },
        # What its fields say is judged by compiled_chain.
        "LoadBalancer": {
            "Policy": None,
            "RingHashConfig": dict.fromkeys(("MinimumRingSize", "MaximumRingSize")),
            "LeastRequestConfig": {"ChoiceCount": None},
            "HashPolicies": {
                **dict.fromkeys(("Field", "FieldValue", "SourceIP", "Terminal")),
                "CookieConfig": dict.fromkeys(("Session", "TTL", "Path")),
            },
        },
    },
}


def label(entry: Json) -> str:
    """ "service-defaults orders"."""
    return f"{entry['Kind']} {entry['Name']}"


def left_out(entry: Json) -> list[str]:
    """The fields of an entry that are written and that we do not carry out: "service-defaults web: ExternalSNI"."""
    done = {**_PLAIN, **DONE[entry["Kind"]]}
    return [f"{label(entry)}: {path}" for path in beyond(entry, done)]


def protocol_of(entry: Json, value: object) -> tuple[str | None, list[str]]:
    """The protocol that an entry says, when we can speak it, and what is to be told when not."""
    if not value:
        return None, []
    if value in PROTOCOLS:
        return str(value), []
    return None, [f"{label(entry)}: Protocol {value} is not supported yet"]


def local_of_service(entry: Json) -> Local:
    """What service-defaults say of the service's own sidecar."""
    header_kilobytes = number(entry.get("MaxRequestHeadersKB"))
    return Local(
        connect_timeout=milliseconds(entry.get("LocalConnectTimeoutMs")),
        request_timeout=milliseconds(entry.get("LocalRequestTimeoutMs")),
        max_connections=number(entry.get("MaxInboundConnections")),
        max_header_bytes=header_kilobytes * 1024 if header_kilobytes else None,
        permissive=permissive(entry),
    )


def permissive(entry: Json) -> bool | None:
    """Whether callers without TLS are taken too; None: the entry does not say."""
    mode = entry.get("MutualTLSMode")
    return mode == "permissive" if mode else None


def calls_of(entry: Json) -> dict[str, Calls]:
    """What service-defaults say of the calls that the service makes, by the called service; "" for all others."""
    told = entry.get("UpstreamConfig") or {}
    named = {"": told.get("Defaults")}
    named |= {item["Name"]: item for item in told.get("Overrides") or () if not item.get("Peer") and item.get("Name")}
    return {service: _calls(item) for service, item in named.items() if item}


def _calls(item: Json) -> Calls:
    limits = item.get("Limits") or {}
    return Calls(
        connect_timeout=milliseconds(item.get("ConnectTimeoutMs")),
        max_connections=number(limits.get("MaxConnections")),
        max_pending=number(limits.get("MaxPendingRequests")),
        max_requests=number(limits.get("MaxConcurrentRequests")),
        **passive.of_entry(item.get("PassiveHealthCheck") or {}),
    )
