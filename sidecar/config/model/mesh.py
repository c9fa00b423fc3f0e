"""The mesh document: defaults for all."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import ClassVar

from pydantic import Field

from sidecar.config.model.access_log import AccessLog
from sidecar.config.model.base import Domain, Duration, Model, Share
from sidecar.config.model.breaking import CircuitBreaker, OutlierDetection
from sidecar.config.model.limits import Limits
from sidecar.config.model.load_balancer import LoadBalancer
from sidecar.config.model.retry import Retry
from sidecar.config.model.tls import MeshTls
from sidecar.config.model.traffic import Failures, Traffic


class Tracing(Model):
    """Spans of the exchanges."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"tags", "baggage"})

    enabled: bool = Field(default=True, description="false: no spans; trace context is still passed on.")
    # All, as the OpenTelemetry SDK's default sampler (parentbased_always_on).
    ratio: Share = Field(
        default=Decimal(1), description="Share of new traces that are sampled; a parent's decision goes first."
    )


class Mesh(Traffic):
    """What holds for every service unless its own document says otherwise."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"health_check", "trust_domains", "plugins"})

    trust_domain: Domain = Field(default="mesh.local", description="The domain of the SPIFFE ids of this mesh.")
    tracing: Tracing = Field(default=Tracing.defaults(), description="Spans of the exchanges.")
    tls: MeshTls = Field(default=MeshTls.defaults(), description="Mutual TLS between sidecars.")
    limits: Limits = Field(default=Limits.defaults(), description="What clients may send to any listener.")
    access_log: AccessLog = Field(default=AccessLog.defaults(), description="One line for each exchange.")

    load_balancer: LoadBalancer = Field(
        default=LoadBalancer.defaults(),
        description="How an endpoint is picked: a policy's name, or a policy with settings.",
    )
    # Envoy's default (config.cluster.v3.Cluster.connect_timeout).
    connect_timeout: Duration = Field(
        default=timedelta(seconds=5), description="Limit of opening a connection to an endpoint."
    )
    retry: Retry = Field(default=Retry.defaults(), description="Tries on other endpoints.")
    circuit_breaker: CircuitBreaker = Field(
        default=CircuitBreaker.defaults(), description="Bounds of what is open at once."
    )
    outlier_detection: OutlierDetection = Field(
        default=OutlierDetection.defaults(), description="When an endpoint that fails gets no requests for a while."
    )
    failures: Failures = Field(default=Failures.defaults(), description="Which answers are an endpoint's failure.")
