"""The control side's own metrics, told beside the data plane's: in the same text forms, and by OTLP."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from sidecar.telemetry.mesh import pairs
from sidecar.wire import otlp_pb2 as otlp

# Names and values; () of a family that has but one sample.
Labels = tuple[tuple[str, str], ...]

SCOPE = "sidecar"
OPENMETRICS_END = b"# EOF\n"
# AggregationTemporality of opentelemetry-proto.
CUMULATIVE = 2


@dataclass(frozen=True)
class Family:
    """One metric family; `read` gives its value by labels when asked. Values of labels need no escaping in any form."""

    # With dots, as OTLP has it: underscores in the text forms, where a counter's samples end in "_total".
    name: str
    kind: Literal["counter", "gauge"]
    help: str
    read: Callable[[], Mapping[Labels, float]]


def append(dataplane: bytes, families: Iterable[Family], *, openmetrics: bool) -> bytes:
    """The data plane's exposition with `families` behind it."""
    own = "".join(_render(family, openmetrics=openmetrics) for family in families).encode()
    if not openmetrics:
        return dataplane + own
    return dataplane.removesuffix(OPENMETRICS_END) + own + OPENMETRICS_END


def _render(family: Family, *, openmetrics: bool) -> str:
    name = family.name.replace(".", "_")
    sample = f"{name}_total" if family.kind == "counter" else name
    # The two forms differ: OpenMetrics describes the family, the older text form describes the sample.
    described = name if openmetrics else sample
    lines = [f"# HELP {described} {family.help}", f"# TYPE {described} {family.kind}"]
    lines += [f"{sample}{_braces(labels)} {value}" for labels, value in family.read().items()]
    return "\n".join(lines) + "\n"


def _braces(labels: Labels) -> str:
    named = ",".join(f'{name}="{value}"' for name, value in labels)
    return f"{{{named}}}" if named else ""


def request(families: Iterable[Family], resource: Mapping[str, str], began: int, now: int) -> bytes:
    """An ExportMetricsServiceRequest, cumulative since `began`. Times are in nanoseconds since the epoch."""
    metrics = [metric for family in families if (metric := _metric(family, began, now)) is not None]
    scope = otlp.ScopeMetrics(scope=otlp.InstrumentationScope(name=SCOPE), metrics=metrics)
    about = otlp.Resource(attributes=pairs(resource))
    told = otlp.ResourceMetrics(resource=about, scope_metrics=[scope])
    return otlp.ExportMetricsServiceRequest(resource_metrics=[told]).SerializeToString()


def _metric(family: Family, began: int, now: int) -> otlp.Metric | None:
    """None: nothing to tell."""
    points = [
        otlp.NumberDataPoint(
            start_time_unix_nano=began,
            time_unix_nano=now,
            as_double=value,
            attributes=pairs(dict(labels)),
        )
        for labels, value in family.read().items()
    ]
    if not points:
        return None
    metric = otlp.Metric(name=family.name, description=family.help)
    if family.kind == "counter":
        metric.sum.CopyFrom(otlp.Sum(data_points=points, aggregation_temporality=CUMULATIVE, is_monotonic=True))
    else:
        metric.gauge.CopyFrom(otlp.Gauge(data_points=points))
    return metric
