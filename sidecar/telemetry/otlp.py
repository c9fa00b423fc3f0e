"""Where telemetry goes, by the standard OTEL_* variables.

Read as the OpenTelemetry specification says ("Environment Variable Specification", "OpenTelemetry Protocol Exporter"):
an empty value is an unset one; a value that cannot be used is warned about and ignored; the form for one signal beats
the general one; `/v1/<signal>` is appended to the general endpoint only. One difference: without an endpoint nothing is
sent, where an SDK would try localhost.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from sidecar.wire import telemetry_pb2

Signal = Literal["traces", "metrics"]
Protocol = Literal["http/protobuf", "grpc"]
Number = TypeVar("Number", int, float)

# Of OTEL_PROPAGATORS. What applications tell each other (`baggage`) passes through a proxy in any case.
PROPAGATORS: Mapping[str, telemetry_pb2.Propagator | None] = {
    "tracecontext": telemetry_pb2.PROPAGATOR_TRACECONTEXT,
    "baggage": None,
    "b3": telemetry_pb2.PROPAGATOR_B3,
    "b3multi": telemetry_pb2.PROPAGATOR_B3MULTI,
    "jaeger": telemetry_pb2.PROPAGATOR_JAEGER,
    "none": None,
}
SAMPLERS = ("always_on", "always_off", "traceidratio")


@dataclass(frozen=True)
class Tls:
    """Files in PEM; "" = the machine's roots, and no certificate of our own."""

    certificate: str = ""
    client_certificate: str = ""
    client_key: str = ""


@dataclass(frozen=True)
class Target:
    """Where one signal is sent; `timeout` is in seconds, for one try. Headers often hold credentials.

    `url` is whole for OTLP over HTTP; over gRPC its scheme says whether there is TLS, and its path nothing.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    timeout: float
    gzip: bool
    protocol: Protocol = "http/protobuf"
    tls: Tls = field(default_factory=Tls)
    signal: Signal = "traces"


@dataclass(frozen=True)
class Batching:
    """How spans are gathered; times in seconds, sizes in spans. `export_timeout` covers all tries of one batch.

    Spans of one exchange stay together: the last of a batch may take it beyond `max_export_batch_size`.
    """

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
    # The share decides for each exchange, whatever its caller has decided.
    ignores_parent: bool
    # The fields that carry a trace; empty: the default's.
    propagators: tuple[telemetry_pb2.Propagator, ...]
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
        tracing.ignores_parent = self.ignores_parent
        tracing.propagators[:] = self.propagators
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
        ratio, ignores_parent = self._sampler()
        return OtlpSettings(
            traces=None if disabled else self._target("traces"),
            metrics=None if disabled else self._target("metrics"),
            resource=self._resource(service),
            ratio=ratio,
            ignores_parent=ignores_parent,
            propagators=self._propagators(),
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
        if not self._for_signal(signal, "ENDPOINT")[1]:
            return None
        protocol = self._protocol(signal)
        url = self._url(signal, protocol) if protocol else None
        tls = self._tls(signal)
        if protocol is None or url is None or tls is None:
            return None
        name, compression = self._for_signal(signal, "COMPRESSION")
        if compression not in ("", "none", "gzip"):
            self._ignore(name, compression, 'expected "gzip" or "none"')
        name, _ = self._for_signal(signal, "TIMEOUT")
        timeout = self._timeout(name, 10_000)
        return Target(url, self._headers(signal), timeout, compression == "gzip", protocol, tls, signal)

    def _protocol(self, signal: Signal) -> Protocol | None:
        name, protocol = self._for_signal(signal, "PROTOCOL")
        match protocol:
            case "" | "http/protobuf":
                return "http/protobuf"
            case "grpc" if find_spec("grpc") is not None:
                return "grpc"
            case "grpc":
                remedy = "install it: pip install 'sidecar-mesh[grpc]'"
                self._warnings.append(f"{name}=grpc: {signal} are not sent, grpcio is missing; {remedy}")
            case _:
                self._warnings.append(
                    f"{name}={protocol}: {signal} are not sent, it is not spoken; expected http/protobuf or grpc, "
                    "and the port of the collector for that (usually 4318 or 4317)"
                )
        return None

    def _tls(self, signal: Signal) -> Tls | None:
        files = []
        for what in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
            name, file = self._for_signal(signal, what)
            if file and not Path(file).is_file():
                self._warnings.append(f"{name}={file}: {signal} are not sent, there is no such file")
                return None
            files.append(file)
        tls = Tls(*files)
        if bool(tls.client_certificate) != bool(tls.client_key):
            self._warnings.append(
                f"{signal} are not sent: OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY go "
                "together, and one of them is not set"
            )
            return None
        return tls

    def _url(self, signal: Signal, protocol: Protocol) -> str | None:
        name, endpoint = self._for_signal(signal, "ENDPOINT")
        if protocol == "grpc" and "://" not in endpoint:
            # The one use of that variable.
            insecure, _ = self._for_signal(signal, "INSECURE")
            endpoint = f"{'http' if self._boolean(insecure) else 'https'}://{endpoint}"
        parts = _split(endpoint)
        if parts is None:
            # The value may hold a password; its name is enough to find it.
            port = 4317 if protocol == "grpc" else 4318
            self._warnings.append(f"{name}: {signal} are not sent, expected a URL like http://collector:{port}")
            return None
        if name != "OTEL_EXPORTER_OTLP_ENDPOINT" or protocol == "grpc":
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

    def _sampler(self) -> tuple[float | None, bool]:
        """The share, None when nothing is said; and whether it decides for itself."""
        sampler = self._environ.get("OTEL_TRACES_SAMPLER", "")
        if not sampler:
            return None, False
        root = sampler.removeprefix("parentbased_")
        if root not in SAMPLERS:
            choices = ", ".join([*SAMPLERS, *(f"parentbased_{name}" for name in SAMPLERS)])
            self._ignore("OTEL_TRACES_SAMPLER", sampler, f"expected one of {choices}")
            return None, False
        if root == "traceidratio":
            ratio = self._number("OTEL_TRACES_SAMPLER_ARG", float, 1.0, minimum=0, maximum=1)
        else:
            ratio = 1.0 if root == "always_on" else 0.0
        return ratio, root == sampler

    def _propagators(self) -> tuple[telemetry_pb2.Propagator, ...]:
        names = [name.strip() for name in self._environ.get("OTEL_PROPAGATORS", "").split(",")]
        known = [name for name in names if name in PROPAGATORS]
        for name in names:
            if name and name not in PROPAGATORS:
                self._ignore("OTEL_PROPAGATORS", name, f"expected some of {', '.join(PROPAGATORS)}")
        if not known:
            return ()
        chosen = () if "none" in known else tuple(dict.fromkeys(PROPAGATORS[name] for name in known))
        return tuple(name for name in chosen if name is not None) or (telemetry_pb2.PROPAGATOR_NONE,)

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
