"""What a person can do about a call that Consul refused, or did not answer in full."""

from __future__ import annotations

import re

_READ_SERVICES = 'service_prefix "" { policy = "read" } and node_prefix "" { policy = "read" }'
# As Consul's servers name what a token lacks.
_LACKS = re.compile(r"""lacks permission '(?P<kind>\w+):(?P<access>\w+)' on \\?"(?P<name>[^"\\]*)""")
# By path, where they do not: the rule that is needed. `{name}` is what the path names, `{policy}` is read or write.
_RULES = (
    (re.compile(r"/v1/kv/(?P<name>sidecar-status/[^/]+/)"), 'key_prefix "{name}" {{ policy = "{policy}" }}'),
    (re.compile(r"/v1/kv/(?P<name>.+/)$"), 'key_prefix "{name}" {{ policy = "{policy}" }}'),
    (re.compile(r"/v1/kv/(?P<name>.+)"), 'key "{name}" {{ policy = "{policy}" }}'),
    (re.compile(r"/v1/txn"), 'key_prefix "sidecar/" {{ policy = "write" }}'),
    (re.compile(r"/v1/agent/connect/ca/leaf/(?P<name>.+)"), 'service "{name}" {{ policy = "write" }}'),
    (
        re.compile(r"/v1/agent/(?:service|check)/(?:register|deregister|update)"),
        'service_prefix "" {{ policy = "write" }}',
    ),
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
        lacks = _LACKS.search(said)
        rule = _lacking(**lacks.groupdict()) if lacks else missing_rule(method, path)
        return f"; give CONSUL_HTTP_TOKEN a token whose policy has {rule}"
    if status == 413:
        return "; Consul takes values of at most 512 KiB (limits.kv_max_value_size)"
    return ""


def missing_rule(method: str, path: str) -> str:
    """The rule of a policy without which a token is refused this call, or gets a part of its answer."""
    for pattern, rule in _RULES:
        if match := pattern.match(path):
            return rule.format(**match.groupdict(), policy="read" if method == "GET" else "write")
    # All else that is called here reads the catalog or the config entries of services.
    return _READ_SERVICES


def _lacking(kind: str, access: str, name: str) -> str:
    """The rule as a policy of ours has it: for what belongs together, not for the one thing that was refused."""
    if kind == "service" and access == "read":
        return _READ_SERVICES
    if kind == "key" and access == "write":
        place = name.split("/")
        # Of the status keys those of one service, of the documents all.
        prefix = "/".join(place[:2] if place[0] == "sidecar-status" else place[:1])
        return f'key_prefix "{prefix}/" {{ policy = "write" }}'
    return f'{kind} "{name}" {{ policy = "{"read" if access == "list" else access}" }}'
