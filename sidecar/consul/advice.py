"""What a person can do about a call that Consul refused."""

from __future__ import annotations

import re

_READ_SERVICES = 'service_prefix "" {{ policy = "read" }} node_prefix "" {{ policy = "read" }}'
# By path: the rule that a token needs. `{name}` is what the path names, `{policy}` is read or write.
_RULES = (
    (re.compile(r"/v1/kv/(?P<name>[^/]*/?)"), 'key_prefix "{name}" {{ policy = "{policy}" }}'),
    (re.compile(r"/v1/txn"), 'key_prefix "sidecar/" {{ policy = "write" }}'),
    (re.compile(r"/v1/agent/connect/ca/leaf/(?P<name>.+)"), 'service "{name}" {{ policy = "write" }}'),
    (re.compile(r"/v1/(?:health|catalog|discovery-chain|config|query)\b"), _READ_SERVICES),
    (re.compile(r"/v1/agent/service/(?:register|deregister)"), 'service_prefix "" {{ policy = "write" }}'),
    (re.compile(r"/v1/agent/service/(?P<name>[^/]+)"), 'service "{name}" {{ policy = "{policy}" }}'),
    (re.compile(r"/v1/agent/check/"), 'service_prefix "" {{ policy = "write" }}'),
    (re.compile(r"/v1/agent/self"), 'agent_prefix "" {{ policy = "read" }}'),
)


def advice(status: int, said: str, method: str, path: str) -> str:
    """ "; the next step", or nothing when there is none to tell."""
    if status == 429:
        return (
            "; the agent has too many connections from this host: raise limits.http_max_conns_per_client (200), "
            "or run fewer sidecars on one agent"
        )
    if status == 403 and "ACL not found" in said:
        return (
            "; the token is unknown or was revoked: give a valid one with CONSUL_HTTP_TOKEN or CONSUL_HTTP_TOKEN_FILE"
        )
    if status in (401, 403):
        rule = _rule(method, path)
        return f"; give CONSUL_HTTP_TOKEN a token whose policy has {rule}" if rule else ""
    if status == 413:
        return "; Consul takes values of at most 512 KiB (limits.kv_max_value_size)"
    return ""


def _rule(method: str, path: str) -> str:
    for pattern, rule in _RULES:
        if match := pattern.match(path):
            return rule.format(**match.groupdict(), policy="read" if method == "GET" else "write")
    return ""
