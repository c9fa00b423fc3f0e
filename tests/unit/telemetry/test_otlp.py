"""The OTEL_* variables mean here what the OpenTelemetry specification says they mean."""

from pathlib import Path

import pytest

from sidecar.telemetry.otlp import Batching, Tls, read_environment
from sidecar.wire.telemetry_pb2 import (
    PROPAGATOR_B3,
    PROPAGATOR_B3MULTI,
    PROPAGATOR_JAEGER,
    PROPAGATOR_NONE,
    PROPAGATOR_TRACECONTEXT,
    Telemetry,
    Tracing,
)

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def test_without_an_endpoint_nothing_is_sent() -> None:
    settings = read_environment({}, "orders")

    assert settings.traces is None
    assert settings.metrics is None
    assert settings.resource == {"service.name": "orders"}
    assert settings.ratio is None
    assert settings.batching == Batching(5.0, 2048, 512, 30.0)
    assert settings.metric_interval == 60.0
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("endpoint", "traces", "metrics"),
    [
        ("http://c:4318", "http://c:4318/v1/traces", "http://c:4318/v1/metrics"),
        ("http://c:4318/", "http://c:4318/v1/traces", "http://c:4318/v1/metrics"),
        ("https://c/otlp/", "https://c/otlp/v1/traces", "https://c/otlp/v1/metrics"),
    ],
)
def test_the_general_endpoint_gets_a_path_for_each_signal(endpoint: str, traces: str, metrics: str) -> None:
    settings = read_environment({ENDPOINT: endpoint}, "orders")

    assert settings.traces is not None
    assert settings.metrics is not None
    assert (settings.traces.url, settings.metrics.url) == (traces, metrics)
    assert (settings.traces.timeout, settings.traces.gzip, settings.traces.headers) == (10.0, False, {})


def test_the_endpoint_of_a_signal_is_taken_as_it_is_and_beats_the_general_one() -> None:
    settings = read_environment(
        {ENDPOINT: "http://c:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1/spans"}, "orders"
    )

    assert settings.traces is not None
    assert settings.metrics is not None
    assert settings.traces.url == "http://t:1/spans"
    assert settings.metrics.url == "http://c:4318/v1/metrics"


def test_every_option_has_a_form_for_one_signal() -> None:
    settings = read_environment(
        {
            ENDPOINT: "http://c:4318",
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=general",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "api-key=metrics, tenant=a%20b",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "2000",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "500",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "none",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        },
        "orders",
    )

    assert settings.traces is not None
    assert settings.metrics is not None
    assert settings.traces.headers == {"api-key": "general"}
    assert settings.metrics.headers == {"api-key": "metrics", "tenant": "a b"}
    assert (settings.traces.timeout, settings.metrics.timeout) == (0.5, 2.0)
    assert (settings.traces.gzip, settings.metrics.gzip) == (False, True)
    assert settings.warnings == ()


def test_an_empty_value_is_an_unset_one() -> None:
    settings = read_environment(
        {ENDPOINT: "http://c:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "", "OTEL_TRACES_SAMPLER": ""}, "orders"
    )

    assert settings.traces is not None
    assert settings.traces.url == "http://c:4318/v1/traces"
    assert settings.ratio is None


@pytest.mark.parametrize("disabled", ["true", "TRUE"])
def test_the_sdk_can_be_disabled(disabled: str) -> None:
    settings = read_environment({ENDPOINT: "http://c:4318", "OTEL_SDK_DISABLED": disabled}, "orders")

    assert settings.traces is None
    assert settings.metrics is None


def test_one_signal_can_be_turned_off() -> None:
    settings = read_environment({ENDPOINT: "http://c:4318", "OTEL_METRICS_EXPORTER": "none"}, "orders")

    assert settings.traces is not None
    assert settings.metrics is None


@pytest.mark.parametrize(
    ("sampler", "argument", "ratio"),
    [
        ("parentbased_always_on", "", 1.0),
        ("parentbased_always_off", "", 0.0),
        ("parentbased_traceidratio", "0.25", 0.25),
        ("parentbased_traceidratio", "", 1.0),
    ],
)
def test_the_sampler_decides_the_ratio(sampler: str, argument: str, ratio: float) -> None:
    for name, ignores_parent in ((sampler, False), (sampler.removeprefix("parentbased_"), True)):
        settings = read_environment({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument}, "orders")

        assert (settings.ratio, settings.ignores_parent) == (ratio, ignores_parent)
        assert settings.warnings == ()


@pytest.mark.parametrize(
    ("value", "propagators"),
    [
        ("", []),
        ("tracecontext,baggage", [PROPAGATOR_TRACECONTEXT]),
        ("b3", [PROPAGATOR_B3]),
        ("b3multi, jaeger ,tracecontext,b3multi", [PROPAGATOR_B3MULTI, PROPAGATOR_JAEGER, PROPAGATOR_TRACECONTEXT]),
        # Baggage alone carries no trace.
        ("baggage", [PROPAGATOR_NONE]),
        ("none", [PROPAGATOR_NONE]),
        ("b3,none", [PROPAGATOR_NONE]),
    ],
)
def test_the_propagators_are_taken_in_their_order(value: str, propagators: list[int]) -> None:
    settings = read_environment({"OTEL_PROPAGATORS": value}, "orders")

    assert list(settings.propagators) == propagators
    assert settings.warnings == ()


def test_an_unknown_propagator_is_told_and_the_others_hold() -> None:
    settings = read_environment({"OTEL_PROPAGATORS": "xray,b3"}, "orders")

    assert settings.propagators == (PROPAGATOR_B3,)
    assert settings.warnings == (
        "OTEL_PROPAGATORS='xray' is ignored: expected some of tracecontext, baggage, b3, b3multi, jaeger, none",
    )
    # With none that is known the default holds.
    assert read_environment({"OTEL_PROPAGATORS": "xray"}, "orders").propagators == ()


def test_the_name_of_the_service_has_an_order_of_precedence() -> None:
    attributes = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=from-attributes,deployment.environment.name=a%2Cb"}

    assert read_environment(attributes, "orders").resource == {
        "service.name": "from-attributes",
        "deployment.environment.name": "a,b",
    }
    named = read_environment({**attributes, "OTEL_SERVICE_NAME": "from-name"}, "orders")
    assert named.resource["service.name"] == "from-name"


@pytest.mark.parametrize(
    ("name", "value", "warning"),
    [
        ("OTEL_BSP_SCHEDULE_DELAY", "soon", "OTEL_BSP_SCHEDULE_DELAY='soon' is ignored: expected a number from 0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "OTEL_BSP_MAX_QUEUE_SIZE='-1' is ignored: expected a number from 1"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "OTEL_METRIC_EXPORT_INTERVAL='0' is ignored"),
        ("OTEL_SDK_DISABLED", "yes", 'OTEL_SDK_DISABLED=\'yes\' is ignored: expected "true" or "false"'),
        ("OTEL_TRACES_SAMPLER", "dice", "OTEL_TRACES_SAMPLER='dice' is ignored"),
        ("OTEL_RESOURCE_ATTRIBUTES", "broken", "OTEL_RESOURCE_ATTRIBUTES='broken' is ignored"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip", "OTEL_EXPORTER_OTLP_COMPRESSION='zip' is ignored"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_and_the_default_holds(name: str, value: str, warning: str) -> None:
    settings = read_environment({ENDPOINT: "http://c:4318", "OTEL_METRICS_EXPORTER": "none", name: value}, "orders")

    default = read_environment({ENDPOINT: "http://c:4318", "OTEL_METRICS_EXPORTER": "none"}, "orders")
    assert settings.warnings[0].startswith(warning)
    assert len(settings.warnings) == 1
    assert (settings.traces, settings.batching, settings.resource, settings.ratio) == (
        default.traces,
        default.batching,
        default.resource,
        default.ratio,
    )


def test_not_a_number_is_no_sampling_ratio() -> None:
    environ = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan"}

    assert read_environment(environ, "orders").ratio == 1.0


@pytest.mark.parametrize("endpoint", ["collector:4318", "ftp://c", "http://", "http://c:99999", "http://[::1"])
def test_what_is_no_endpoint_turns_the_signals_off(endpoint: str) -> None:
    settings = read_environment({ENDPOINT: endpoint}, "orders")

    assert (settings.traces, settings.metrics) == (None, None)
    assert "traces are not sent, expected a URL like http://collector:4318" in settings.warnings[0]


def test_a_protocol_that_is_not_spoken_is_told_with_the_way_out() -> None:
    settings = read_environment({ENDPOINT: "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "orders")

    assert (settings.traces, settings.metrics) == (None, None)
    assert "expected http/protobuf or grpc" in settings.warnings[0]


@pytest.mark.parametrize(
    ("endpoint", "insecure", "url"),
    [
        ("http://c:4317", "", "http://c:4317"),
        ("https://c:4317/", "true", "https://c:4317/"),
        ("c:4317", "", "https://c:4317"),
        ("c:4317", "true", "http://c:4317"),
    ],
)
def test_over_grpc_the_endpoint_is_a_host_and_whether_there_is_tls(endpoint: str, insecure: str, url: str) -> None:
    settings = read_environment(
        {
            ENDPOINT: endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m:4318/v1/metrics",
            "OTEL_EXPORTER_OTLP_INSECURE": insecure,
        },
        "orders",
    )

    assert settings.traces is not None
    assert settings.metrics is not None
    assert (settings.traces.protocol, settings.traces.url) == ("grpc", url)
    assert (settings.metrics.protocol, settings.metrics.signal) == ("http/protobuf", "metrics")
    assert settings.warnings == ()


def test_without_grpcio_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.telemetry.otlp.find_spec", lambda name: None)
    environ = {ENDPOINT: "http://c:4317", "OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    settings = read_environment(environ, "orders")

    assert settings.traces is None
    assert "pip install 'sidecar-mesh[grpc]'" in settings.warnings[0]


def test_certificates_are_named_for_all_signals_or_for_one(tmp_path: Path) -> None:
    roots, certificate, key, own = (tmp_path / name for name in ("roots", "certificate", "key", "own"))
    for file in (roots, certificate, key, own):
        file.touch()
    environ = {
        ENDPOINT: "https://c:4318",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(roots),
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": str(own),
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(certificate),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(key),
    }
    settings = read_environment(environ, "orders")

    assert settings.traces is not None
    assert settings.metrics is not None
    assert settings.traces.tls == Tls(str(own), str(certificate), str(key))
    assert settings.metrics.tls == Tls(str(roots), str(certificate), str(key))

    missing = read_environment({**environ, "OTEL_EXPORTER_OTLP_CLIENT_KEY": f"{key}.no"}, "orders")
    assert missing.traces is None
    assert "there is no such file" in missing.warnings[0]
    alone = read_environment({**environ, "OTEL_EXPORTER_OTLP_CLIENT_KEY": ""}, "orders")
    assert alone.metrics is None
    assert "go together" in alone.warnings[0]


def test_headers_that_cannot_be_read_are_not_printed() -> None:
    settings = read_environment({ENDPOINT: "http://c:4318", "OTEL_EXPORTER_OTLP_HEADERS": "s3cret token"}, "orders")

    assert settings.traces is not None
    assert settings.traces.headers == {}
    assert "s3cret" not in "".join(settings.warnings)
    assert len(settings.warnings) == 2


def test_no_repr_shows_a_header() -> None:
    settings = read_environment({ENDPOINT: "http://c:4318", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=s3cret"}, "o")

    assert "s3cret" not in repr(settings)


def test_the_environment_lies_over_the_documents() -> None:
    settings = read_environment(
        {ENDPOINT: "http://c:4318", "OTEL_TRACES_SAMPLER": "parentbased_always_off", "OTEL_SERVICE_NAME": "o"}, "orders"
    )
    telemetry = Telemetry(tracing=Tracing(enabled=True, ratio=0.5, resource={"service.name": "orders", "a": "b"}))

    settings.overlay(telemetry)

    assert telemetry.tracing == Tracing(enabled=True, ratio=0.0, resource={"service.name": "o", "a": "b"})

    alone = {ENDPOINT: "http://c:4318", "OTEL_TRACES_SAMPLER": "always_on", "OTEL_PROPAGATORS": "b3,jaeger"}
    read_environment(alone, "orders").overlay(telemetry)

    assert (telemetry.tracing.ratio, telemetry.tracing.ignores_parent) == (1.0, True)
    assert list(telemetry.tracing.propagators) == [PROPAGATOR_B3, PROPAGATOR_JAEGER]


def test_without_a_target_no_span_is_made_and_documents_keep_the_last_word_on_off() -> None:
    on, off = Telemetry(tracing=Tracing(enabled=True, ratio=0.5)), Telemetry(tracing=Tracing(enabled=False))

    read_environment({}, "orders").overlay(on)
    read_environment({ENDPOINT: "http://c:4318"}, "orders").overlay(off)

    assert (on.tracing.enabled, off.tracing.enabled) == (False, False)
    assert on.tracing.ratio == 0.5
