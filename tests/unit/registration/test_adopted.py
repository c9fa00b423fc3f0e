"""What a registration of others says of its proxy, and what of it cannot be used."""

from typing import Any

import pytest

from sidecar.errors import ConsulError
from sidecar.registration.adopted import find, follow, read
from sidecar.snapshot.role import Exposed, Upstream
from tests.unit.consul.scripted import Reply, connected, scripted


def proxy(**told: Any) -> dict[str, Any]:
    """A proxy of `web-1` as an agent tells it; `told` goes into its Proxy part."""
    part = {"DestinationServiceName": "web", "DestinationServiceID": "web-1", "LocalServicePort": 8080, **told}
    return {"ID": "web-1-proxy", "Kind": "connect-proxy", "Port": 21000, "Proxy": part}


def test_ports_and_addresses_have_the_defaults_of_consul() -> None:
    adopted = read(proxy())

    assert (adopted.service, adopted.service_id, adopted.proxy_id) == ("web", "web-1", "web-1-proxy")
    assert adopted.inbound == "0.0.0.0:21000"
    assert adopted.app_address == "127.0.0.1:8080"
    assert adopted.not_carried_out == ()


def test_where_to_bind_is_said_by_the_opaque_config() -> None:
    config = {"bind_address": "10.0.0.7", "bind_port": 22000, "envoy_listener_tracing_json": "{}"}
    adopted = read(proxy(LocalServiceAddress="10.0.0.8", Config=config))

    assert adopted.inbound == "10.0.0.7:22000"
    assert adopted.app_address == "10.0.0.8:8080"
    assert adopted.not_carried_out == ("Proxy.Config.envoy_listener_tracing_json",)
    assert read(proxy(Config={"protocol": "kafka"})).not_carried_out == ("Proxy.Config.protocol kafka",)


def test_upstreams_are_local_ports_and_what_we_cannot_do_is_named() -> None:
    tuned = {"connect_timeout_ms": 5, "passive_health_check": {"max_failures": 1, "max": 2}}
    upstreams = [
        {"DestinationType": "service", "DestinationName": "orders", "LocalBindPort": 9191},
        {"DestinationName": "far", "LocalBindPort": 9192, "Datacenter": "dc2"},
        {"DestinationType": "prepared_query", "DestinationName": "q", "LocalBindPort": 9193},
        {"DestinationName": "sock", "LocalBindSocketPath": "/run/s"},
        {"DestinationName": "peered", "DestinationPeer": "other", "LocalBindPort": 9194},
        {"DestinationName": "a b", "LocalBindPort": 9195},
        {"DestinationName": "tuned", "LocalBindPort": 9196, "Config": tuned},
    ]
    adopted = read(proxy(Upstreams=upstreams, Mode="transparent", Expose={}, MeshGateway={"Mode": "local"}))

    assert adopted.upstreams == (
        Upstream("orders", "127.0.0.1:9191"),
        Upstream("far", "127.0.0.1:9192", "dc2"),
        Upstream("q", "127.0.0.1:9193", query=True),
        Upstream("tuned", "127.0.0.1:9196"),
    )
    assert adopted.not_carried_out == (
        "Proxy.Upstreams[3] (sock): without a LocalBindPort",
        "Proxy.Upstreams[4] (peered): DestinationPeer other",
        "Proxy.Upstreams[5] (a b): its name is not one label of a host name",
        "Proxy.Upstreams[6] (tuned): Config.passive_health_check.max",
        "Proxy.MeshGateway.Mode local",
        "Proxy.Mode transparent",
    )


def test_a_field_that_nobody_knows_is_named() -> None:
    adopted = read(proxy(FromTheFuture=1, Upstreams=[{"DestinationName": "a", "LocalBindPort": 1, "New": {"x": 1}}]))

    assert adopted.not_carried_out == ("Proxy.Upstreams[0] (a): New", "Proxy.FromTheFuture")


def test_exposed_paths_are_ports_for_probes_and_what_we_cannot_do_is_named() -> None:
    paths = [
        {"Path": "/health", "ListenerPort": 21500, "LocalPathPort": 8080, "Protocol": "http"},
        {"Path": "/grpc.health.v1.Health/Check", "ListenerPort": 21501, "LocalPathPort": 8081, "Protocol": "http2"},
        {"Path": "health", "ListenerPort": 21502, "LocalPathPort": 8080},
        {"Path": "/none", "LocalPathPort": 8080},
        {"Path": "/tcp", "ListenerPort": 21503, "LocalPathPort": 8080, "Protocol": "tcp"},
    ]
    adopted = read(proxy(Expose={"Checks": True, "Paths": paths}, Config={"bind_address": "10.0.0.7"}))

    assert adopted.exposed == (
        Exposed("10.0.0.7:21500", "/health", 8080),
        Exposed("10.0.0.7:21501", "/grpc.health.v1.Health/Check", 8081, "http2"),
    )
    assert adopted.not_carried_out == (
        "Proxy.Expose.Paths[2] (health): it is no absolute path",
        "Proxy.Expose.Paths[3] (/none): without a ListenerPort",
        "Proxy.Expose.Paths[4] (/tcp): Protocol tcp",
        "Proxy.Expose.Checks: Consul's API tells the ports that its checks take here, but neither their paths nor the "
        "application's ports: name both in Proxy.Expose.Paths",
    )


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"LocalServicePort": 0}, "no Proxy.LocalServicePort"),
        ({"LocalServiceSocketPath": "/run/app"}, "LocalServiceSocketPath is not supported yet"),
    ],
)
def test_a_proxy_without_a_port_is_refused(told: dict[str, Any], said: str) -> None:
    with pytest.raises(ConsulError, match=said):
        read(proxy(**told))


async def test_a_service_without_a_proxy_is_told_with_the_way_out() -> None:
    async with scripted({"/v1/agent/services": [Reply({})]}) as script, connected(script) as client:
        with pytest.raises(ConsulError, match=r"found none; register one .* or let us register with --service"):
            await find(client, "web-1")
    (request,) = script.asked("/v1/agent/services")
    assert request.query["filter"] == 'Kind == "connect-proxy"'


@pytest.mark.parametrize("odd", [[], {}, {"ContentHash": 7}, {"ContentHash": "x", "ID": 7, "Proxy": []}, "x"])
async def test_an_answer_of_another_form_is_an_error_that_says_so(odd: object) -> None:
    async with scripted({"/v1/agent/service/web-1-proxy": [Reply(odd)]}) as script, connected(script) as client:
        with pytest.raises(ConsulError, match=r"something that is not its API|has no Port"):
            await anext(follow(client, "web-1-proxy"))
