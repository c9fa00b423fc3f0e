"""The world goes from update to update; a bad document is refused alone."""

from dataclasses import replace

from sidecar.config.model import Mesh
from sidecar.config.model.load_balancer import LoadBalancer
from sidecar.world import Chain, ChainsUpdate, EndpointsUpdate, Instance, NamesUpdate, Site, Target, World
from tests.unit.documents import EDGE, INVENTORY, ORDERS, SHOP, document_set, world_of


def after(*updates: dict[str, str]) -> World:
    world = World()
    for texts in updates:
        world = world.apply(document_set(texts))
    return world


def test_an_empty_world_has_the_defaults() -> None:
    assert World().mesh == Mesh()
    assert World().services == {}
    assert World().gateways == {}


def test_the_documents_of_an_update_are_the_world() -> None:
    world = world_of(SHOP)

    assert world.mesh.trust_domain == "shop.local"
    assert list(world.services) == ["inventory", "orders"]
    assert list(world.gateways) == ["edge"]


def test_a_removed_document_is_gone() -> None:
    world = after(
        {"services/inventory.yaml": INVENTORY, "services/web.yaml": INVENTORY}, {"services/web.yaml": INVENTORY}
    )

    assert list(world.services) == ["web"]


def test_a_broken_document_keeps_serving_in_its_last_good_version_until_it_is_fixed() -> None:
    broken = {**SHOP, "services/inventory.yaml": "protcol: http"}
    fixed = {**SHOP, "services/inventory.yaml": "protocol: http2"}

    world = after(SHOP, broken)
    assert world.services == world_of(SHOP).services
    assert [problem.place for problem in world.refusals["services/inventory.yaml"]] == ["services/inventory.yaml:1:1"]

    world = world.apply(document_set(fixed))
    assert world.services["inventory"].protocol == "http2"
    assert world.refusals == {}


def test_a_document_that_is_broken_from_the_start_takes_no_other_down() -> None:
    world = after({**SHOP, "services/orders.yaml": "protcol: grpc"})

    assert list(world.services) == ["inventory"]
    assert list(world.gateways) == ["edge"]
    assert list(world.refusals) == ["services/orders.yaml"]


def test_a_broken_document_that_is_removed_is_no_longer_refused() -> None:
    world = after(SHOP, {**SHOP, "services/new.yaml": "x: 1"}, SHOP)

    assert world.refusals == {}


def test_a_route_to_an_unknown_service_is_refused_with_the_nearest_name() -> None:
    world = after({"services/orders.yaml": "{}", "gateways/edge.yaml": EDGE.replace("orders", "order")})

    (problem,) = world.refusals["gateways/edge.yaml"]
    assert problem.place == "gateways/edge.yaml:7:19"
    assert problem.message == "there is no service `order`"
    assert problem.hint == "did you mean `orders`?"
    assert world.gateways == {}


def test_a_route_to_an_unknown_subset_is_refused_with_the_nearest_name() -> None:
    edge = EDGE.replace("{service: orders}", "{service: orders, subset: v3}")
    world = after({**SHOP, "gateways/edge.yaml": edge})

    (problem,) = world.refusals["gateways/edge.yaml"]
    assert problem.place == "gateways/edge.yaml:7:35"
    assert problem.message == "service `orders` has no subset `v3`"
    assert problem.expected == "`v1`, `v2`"


def test_an_upstream_that_is_unknown_is_refused() -> None:
    world = after({"services/orders.yaml": ORDERS})

    (problem,) = world.refusals["services/orders.yaml"]
    assert problem.place == "services/orders.yaml:6:23"
    assert problem.hint == "add services/inventory.yaml"


def test_a_reference_to_a_refused_document_is_not_dangling() -> None:
    world = after({"services/orders.yaml": ORDERS, "services/inventory.yaml": "protcol: http"})

    assert list(world.services) == ["orders"]
    assert list(world.refusals) == ["services/inventory.yaml"]


def test_what_refers_to_a_removed_service_keeps_serving_and_tells_so() -> None:
    without = {place: text for place, text in SHOP.items() if place != "services/orders.yaml"}
    world = after(SHOP, without)

    assert world.gateways == world_of(SHOP).gateways
    assert [problem.message for problem in world.refusals["gateways/edge.yaml"]] == ["there is no service `orders`"]
    assert world.apply(document_set(SHOP)).refusals == {}


def test_a_new_version_with_a_dangling_reference_waits_while_the_old_one_serves() -> None:
    world = after(SHOP, {**SHOP, "gateways/edge.yaml": EDGE.replace("service: orders", "service: nowhere")})

    assert world.gateways == world_of(SHOP).gateways
    assert list(world.refusals) == ["gateways/edge.yaml"]


def test_subsets_are_judged_by_the_version_that_serves() -> None:
    # The new orders would drop v1, but is refused for its upstream: the gateway's route to v1 stays good.
    edge = EDGE.replace("{service: orders}", "{service: orders, subset: v1}")
    good = {**SHOP, "gateways/edge.yaml": edge}
    bad_orders = "upstreams: [{service: nowhere, port: 9000}]\n"
    world = after(good, {**good, "services/orders.yaml": bad_orders})

    assert list(world.refusals) == ["services/orders.yaml"]
    assert world.documents == world_of(good).documents


def test_an_update_leaves_the_world_before_it_as_it_was() -> None:
    world = world_of(SHOP)
    world.apply(document_set({}))

    assert list(world.services) == ["inventory", "orders"]


# --- what Consul tells


def test_instances_are_known_until_they_are_watched_no_more() -> None:
    orders, instances = Target("orders"), (Instance("host/a", "10.0.0.1:21000"),)
    world = World().apply(EndpointsUpdate(orders, instances))

    assert world.endpoints == {orders: instances}
    assert world.apply(EndpointsUpdate(orders, None)).endpoints == {}


def test_a_document_changes_nothing_of_what_consul_told() -> None:
    world = World().apply(Site("abc.consul", "east")).apply(NamesUpdate("", frozenset({"legacy"})))
    world = world.apply(document_set(SHOP))

    assert (world.trust_domain, world.datacenter) == ("abc.consul", "east")
    assert world.service_names == ("inventory", "legacy", "orders")


RANDOM = LoadBalancer(policy="random")


def test_a_field_that_a_document_does_not_write_is_as_config_entries_say() -> None:
    chains = {name: Chain(protocol="grpc", load_balancer=RANDOM) for name in ("web", "api")}
    documents = document_set({"services/web.yaml": "protocol: http2"})
    world = World().apply(documents).apply(ChainsUpdate(chains, protocol="http2"))

    assert (world.service("web").protocol, world.service("web").load_balancer) == ("http2", RANDOM)
    assert world.service("api").protocol == "grpc"
    # proxy-defaults
    assert world.service("other").protocol == "http2"


def test_a_gateway_may_lead_to_a_service_that_only_consul_knows() -> None:
    documents = replace(document_set({"gateways/edge.yaml": EDGE}), discovered=True)

    assert World().apply(documents).refusals == {}


def test_a_clusters_name_says_what_it_leads_to() -> None:
    for target in (Target("a"), Target("a", "v1"), Target("a", datacenter="dc2"), Target("a", "v1", "dc2")):
        assert Target.of(target.cluster) == target


def test_a_service_whose_name_is_no_label_of_a_host_is_named_and_takes_nothing_else_away() -> None:
    world = World(discovered=True).apply(NamesUpdate("", frozenset({"orders", "Stock_v2", "a b", "a/b", "a.b", "app"})))

    assert world.service_names == ("Stock_v2", "orders")
    assert [text.split(":")[0] for text in world.not_carried_out] == [
        f"service {name!r}" for name in ("a b", "a.b", "a/b", "app")
    ]


def test_what_was_known_of_a_service_that_is_watched_no_more_is_kept_while_its_name_is() -> None:
    orders, far = Target("orders"), Target("orders", datacenter="dc2")
    instance = Instance("host/1", "10.0.0.1:21000")
    world = World(discovered=True)
    for target in (orders, far):
        world = world.apply(EndpointsUpdate(target, (instance,))).apply(EndpointsUpdate(target, None))
    assert (dict(world.endpoints), dict(world.idle)) == ({}, {orders: (instance,), far: (instance,)})

    assert world.apply(NamesUpdate("", frozenset({"orders"}))).idle == world.idle
    assert dict(world.apply(NamesUpdate("", frozenset({"web"}))).idle) == {far: (instance,)}


def test_what_only_consul_can_look_up_is_refused_in_a_directory() -> None:
    text = "upstreams: [{query: near, port: 1}, {service: orders, datacenter: dc2, port: 2}]"
    world = World().apply(document_set({"services/web.yaml": text}))

    first, second = world.refusals["services/web.yaml"]
    assert str(first).startswith("services/web.yaml:1:21: `query` is looked up in Consul")
    assert str(second).startswith("services/web.yaml:1:67: `datacenter` is looked up in Consul")
    assert World().apply(replace(document_set({"services/web.yaml": text}), discovered=True)).refusals == {}
