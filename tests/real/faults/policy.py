"""One table of what a caller's proxy does about faults, written as a document of ours and as a cluster of Envoy's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.real.faults.wire import Wire

Json = dict[str, Any]


@dataclass(frozen=True)
class Policy:
    """Times in seconds."""

    timeout: float = 2.0
    connect_timeout: float = 1.0
    # Tries in all, what they are made for in Envoy's words, and until when an answer must begin.
    attempts: int = 3
    on: tuple[str, ...] = ("connect-failure", "refused-stream", "reset", "gateway-error", "unavailable")
    per_try_timeout: float = 0.3
    # Share of the requests that may be retries.
    budget: float = 0.2
    # Failures in a row after which an endpoint is left alone, and for how long; 0: it never is.
    consecutive_errors: int = 5
    ejection: float = 1.0
    # Share of the endpoints that may be left alone.
    max_ejected: float = 0.5

    def document(self, wire: Wire, ports: Sequence[int]) -> Json:
        """The fields of a service's document."""
        return {
            "protocol": {Wire.HTTP1: "http", Wire.HTTP2: "http2"}.get(wire, "grpc"),
            "tls": "disabled",
            "endpoints": [{"address": f"127.0.0.1:{port}"} for port in ports],
            "load_balancer": "least_request",
            "timeout": _duration(self.timeout),
            "connect_timeout": _duration(self.connect_timeout),
            "retry": {
                "attempts": self.attempts,
                "on": list(self.on),
                "budget": _percent(self.budget),
                **({"per_try_timeout": _duration(self.per_try_timeout)} if self.attempts > 1 else {}),
            },
            "outlier_detection": self._outlier_detection(),
        }

    def _outlier_detection(self) -> Json:
        if not self.consecutive_errors:
            return {"enabled": False}
        return {
            "consecutive_errors": self.consecutive_errors,
            "ejection": _duration(self.ejection),
            "max_ejected": _percent(self.max_ejected),
            # Envoy compares endpoints with each other for it, from five on.
            "success_rate": "0%",
        }

    def route(self) -> Json:
        """The action of a route of Envoy's."""
        action: Json = {"timeout": _seconds(self.timeout)}
        if self.attempts > 1:
            action["retry_policy"] = {
                "retry_on": ",".join(self.on),
                "num_retries": self.attempts - 1,
                "per_try_timeout": _seconds(self.per_try_timeout),
                # What ours has without being told.
                "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
                # Another host first, as ours does.
                "retry_host_predicate": [_typed("retry.host.previous_hosts", "PreviousHostsPredicate")],
                "host_selection_retry_max_attempts": 5,
            }
        return action

    def cluster(self, name: str, wire: Wire, ports: Sequence[int]) -> Json:
        """A cluster of Envoy's."""
        protocol = "http_protocol_options" if wire is Wire.HTTP1 else "http2_protocol_options"
        endpoints = [
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
            for port in ports
        ]
        cluster: Json = {
            "name": name,
            "type": "STATIC",
            "connect_timeout": _seconds(self.connect_timeout),
            "lb_policy": "LEAST_REQUEST",
            "typed_extension_protocol_options": {
                _HTTP: {"@type": f"type.googleapis.com/{_HTTP}", "explicit_http_config": {protocol: {}}}
            },
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
            "circuit_breakers": {"thresholds": [{"retry_budget": {"budget_percent": {"value": self.budget * 100}}}]},
        }
        if self.consecutive_errors:
            cluster["outlier_detection"] = {
                "consecutive_5xx": self.consecutive_errors,
                # How often it looks whom to take back; its default would be ten ejections long.
                "interval": "0.25s",
                "base_ejection_time": _seconds(self.ejection),
                "max_ejection_percent": round(self.max_ejected * 100),
                "enforcing_success_rate": 0,
            }
        return cluster


_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

POLICY = Policy()
# The negative control: every fault reaches the caller.
NO_POLICY = Policy(attempts=1, consecutive_errors=0, timeout=0.5)


def envoy(port: int, services: Mapping[str, tuple[Policy, Wire, Sequence[int]]]) -> Json:
    """Envoy's whole configuration: a listener on `port` that routes to `services` by host."""
    hosts = [
        {
            "name": name,
            "domains": [name],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name, **policy.route()}}],
        }
        for name, (policy, _, _) in services.items()
    ]
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": _type("filters.http.router", "Router")}}
    manager = {
        "@type": _type("filters.network.http_connection_manager", "HttpConnectionManager"),
        "stat_prefix": "faults",
        "codec_type": "AUTO",
        "generate_request_id": False,
        "route_config": {"virtual_hosts": hosts},
        "http_filters": [router],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {
        "name": "faults",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": filters}],
    }
    clusters = [policy.cluster(name, wire, ports) for name, (policy, wire, ports) in services.items()]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _type(place: str, message: str) -> str:
    return f"type.googleapis.com/envoy.extensions.{place}.v3.{message}"


def _typed(place: str, message: str) -> Json:
    return {"name": f"envoy.{place}", "typed_config": {"@type": _type(place, message)}}


def _seconds(seconds: float) -> str:
    """As Envoy writes a duration."""
    return f"{seconds:g}s"


def _percent(share: float) -> str:
    return f"{round(share * 100)}%"


def _duration(seconds: float) -> str:
    """As our documents write one."""
    return f"{round(seconds * 1000)}ms"
