"""Where telemetry goes, by the standard OTEL_* variables.

Read as the OpenTelemetry specification says ("Environment Variable Specification", "OpenTelemetry Protocol Exporter"):
an empty value is an unset one; a value that cannot be used is warned about and ignored; the form for one signal beats
the general one; `/v1/<signal>` is appended to the general endpoint only. One difference: without an endpoint nothing is
sent, where an SDK would try localhost.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from sidecar.wire import telemetry_pb2

Signal = Literal["traces", "metrics"]
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Target:
    """Where one signal is sent by OTLP/HTTP; `timeout` is in seconds, for one try. Headers often hold credentials."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    timeout: float
    gzip: bool


@dataclass(frozen=True)
class Batching:
    """How spans are gathered; times in seconds, sizes in spans. `export_timeout` covers all tries of one batch."""

    schedule_delay: float
    max_queue_size: int
    max_export_batch_size: int
    export_timeout: float


@dataclass(frozen=True)
class OtlpSettings:
    """What the environment says. A signal without a target is not sent."""

    traces: Target | None
    metrics: Target | None
    resource: Mapping[str, str]
    # Share of new traces that are sampled; None: the environment does not say.
    ratio: float | None
    batching: Batching
    # Seconds.
    metric_interval: float
    # What was ignored and why, for the log.
    warnings: tuple[str, ...]

    def overlay(self, telemetry: telemetry_pb2.Telemetry) -> None:
        """Put what the environment says over what the documents say; without a target no span is made."""
        tracing = telemetry.tracing
        tracing.enabled = tracing.enabled and self.traces is not None
        if self.ratio is not None:
            tracing.ratio = self.ratio
        tracing.resource.update(self.resource)


def read_environment(environ: Mapping[str, str], service: str) -> OtlpSettings:
    """Read the OTEL_* variables; `service` is the `service.name` unless they name another."""
    return _Reader(environ).read(service)


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._warnings: list[str] = []

    def read(self, service: str) -> OtlpSettings:
        disabled = self._boolean("OTEL_SDK_DISABLED")
        return OtlpSettings(
            traces=None if disabled else self._target("traces"),
            metrics=None if disabled else self._target("metrics"),
            resource=self._resource(service),
            ratio=self._ratio(),
            # Defaults of all numbers: the specification's.
            batching=Batching(
                schedule_delay=self._milliseconds("OTEL_BSP_SCHEDULE_DELAY", 5000),
                max_queue_size=self._number("OTEL_BSP_MAX_QUEUE_SIZE", int, 2048, minimum=1),
                max_export_batch_size=self._number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", int, 512, minimum=1),
                export_timeout=self._timeout("OTEL_BSP_EXPORT_TIMEOUT", 30_000),
            ),
            metric_interval=self._number("OTEL_METRIC_EXPORT_INTERVAL", int, 60_000, minimum=1) / 1000,
            warnings=tuple(self._warnings),
        )

    def _target(self, signal: Signal) -> Target | None:
        exporter = self._environ.get(f"OTEL_{signal.upper()}_EXPORTER", "")
        if exporter == "none":
            return None
        if exporter not in ("", "otlp"):
            self._ignore(f"OTEL_{signal.upper()}_EXPORTER", exporter, 'expected "otlp" or "none"')
        url = self._url(signal)
        if url is None:
            return None
        name, protocol = self._for_signal(signal, "PROTOCOL")
        if protocol not in ("", "http/protobuf"):
            self._warnings.append(
                f"{name}={protocol}: {signal} are not sent, only http/protobuf is spoken; "
                "point the endpoint at the collector's OTLP/HTTP port (usually 4318) and set http/protobuf"
            )
            return None
        name, compression = self._for_signal(signal, "COMPRESSION")
        if compression not in ("", "none", "gzip"):
            self._ignore(name, compression, 'expected "gzip" or "none"')
        name, _ = self._for_signal(signal, "TIMEOUT")
        return Target(url, self._headers(signal), self._timeout(name, 10_000), compression == "gzip")

    def _url(self, signal: Signal) -> str | None:
        name, endpoint = self._for_signal(signal, "ENDPOINT")
        if not endpoint:
            return None
        parts = _split(endpoint)
        if parts is None:
            # The value may hold a password; its name is enough to find it.
            self._warnings.append(f"{name}: {signal} are not sent, expected a URL like http://collector:4318")
            return None
        if name != "OTEL_EXPORTER_OTLP_ENDPOINT":
            return endpoint
        return parts._replace(path=f"{parts.path.rstrip('/')}/v1/{signal}", query="", fragment="").geturl()

    def _for_signal(self, signal: Signal, what: str) -> tuple[str, str]:
        """The variable in force and its value, "" when neither form is set."""
        own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}"
        general = f"OTEL_EXPORTER_OTLP_{what}"
        return (own, self._environ[own]) if self._environ.get(own) else (general, self._environ.get(general, ""))

    def _headers(self, signal: Signal) -> Mapping[str, str]:
        name, text = self._for_signal(signal, "HEADERS")
        pairs = _pairs(text)
        if pairs is None or not all(
            _HEADER_NAME.fullmatch(key) and value.isprintable() for key, value in pairs.items()
        ):
            # The value itself would be a secret in the log.
            self._warnings.append(f"{name} is ignored: expected key=value,key=value with percent-encoded values")
            return {}
        return pairs

    def _resource(self, service: str) -> Mapping[str, str]:
        text = self._environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        attributes = _pairs(text)
        if attributes is None:
            # The specification discards the whole value on any error.
            self._ignore("OTEL_RESOURCE_ATTRIBUTES", text, "expected key=value,key=value with percent-encoded values")
            attributes = {}
        chosen = self._environ.get("OTEL_SERVICE_NAME") or attributes.get("service.name") or service
        return {**attributes, "service.name": chosen}

    def _ratio(self) -> float | None:
        sampler = self._environ.get("OTEL_TRACES_SAMPLER", "")
        root = sampler.removeprefix("parentbased_")
        if not sampler:
            return None
        if root not in ("always_on", "always_off", "traceidratio"):
            self._ignore("OTEL_TRACES_SAMPLER", sampler, "expected parentbased_always_on, _always_off or _traceidratio")
            return None
        if root == sampler:
            self._warnings.append(
                f"OTEL_TRACES_SAMPLER={sampler} is read as parentbased_{sampler}: "
                "a proxy keeps the decision of a trace's parent, else traces would break"
            )
        if root == "traceidratio":
            return self._number("OTEL_TRACES_SAMPLER_ARG", float, 1.0, minimum=0, maximum=1)
        return 1.0 if root == "always_on" else 0.0

    def _boolean(self, name: str) -> bool:
        text = self._environ.get(name, "")
        if text.lower() not in ("", "true", "false"):
            self._ignore(name, text, 'expected "true" or "false"')
        return text.lower() == "true"

    def _milliseconds(self, name: str, default: int) -> float:
        return self._number(name, int, default, minimum=0) / 1000

    def _timeout(self, name: str, default: int) -> float:
        # Zero means without limit; an hour is that for us, and stays bounded.
        return self._milliseconds(name, default) or 3600.0

    def _number(
        self, name: str, parse: Callable[[str], Number], default: Number, minimum: int, maximum: int = 2**31 - 1
    ) -> Number:
        text = self._environ.get(name, "")
        if not text:
            return default
        try:
            number: Number | None = parse(text)
        except ValueError:
            number = None
        # Written this way round, NaN is out of range as well.
        if number is None or not minimum <= number <= maximum:
            self._ignore(name, text, f"expected a number from {minimum} to {maximum}")
            return default
        return number

    def _ignore(self, name: str, text: str, expected: str) -> None:
        self._warnings.append(f"{name}={text!r} is ignored: {expected}")


def _split(endpoint: str) -> SplitResult | None:
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


# RFC 9110 token.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _pairs(text: str) -> dict[str, str] | None:
    """`key=value,key=value`, values percent-encoded, as W3C Baggage without properties; None when it is not that."""
    pairs = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not key or not equals:
            return None
        try:
            pairs[unquote(key)] = unquote(value, errors="strict")
        except UnicodeDecodeError:
            return None
    return pairs
