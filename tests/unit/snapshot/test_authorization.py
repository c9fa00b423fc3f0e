"""Intentions and `allow` become rule sets; what no sidecar can judge is denied, with the reason."""

import pytest

from sidecar.defaults import Local
from sidecar.intentions import FieldTest, Intention, Intentions, Permission
from sidecar.snapshot import GatewayRole, SidecarRole, compile, is_open, summary
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import Chain, ChainsUpdate, World
from tests.unit.documents import SHOP, problems_of, world_of

WEB = Intention("web", "orders", 9, True)


def inbound(world: World) -> wire.Listener:
    snapshot = compile(world, SidecarRole("orders"), 1)
    (found,) = (listener for listener in snapshot.listeners if listener.name == "inbound")
    (other,) = (listener for listener in snapshot.listeners if listener.name == "outbound")
    assert not other.HasField("authorization")
    return found


def rules(*found: Intention, default: bool = False, protocol: str = "http") -> list[tuple[str, bool, str]]:
    """Source, verdict and words of each rule, the last one for all others."""
    world = world_of({"services/orders.yaml": f"protocol: {protocol}"}).apply(Intentions(found, default))
    (made,) = inbound(world).authorization.rule_sets
    told = [(rule.source, rule.verdict.allow, rule.verdict.by) for rule in made.rules]
    return [*told, ("others", made.otherwise.allow, made.otherwise.by)]


def test_without_intentions_and_allow_there_are_no_rules() -> None:
    world = world_of({"services/orders.yaml": "protocol: http"})
    assert list(inbound(world).authorization.rule_sets) == []
    assert is_open(world, "orders")
    assert "every verified peer of the mesh may call orders" in summary(world, "orders")


def test_intentions_keep_their_order_and_name_themselves() -> None:
    assert rules(WEB, Intention("*", "*", 5, False), default=True) == [
        ("web", True, "intention web → orders (precedence 9)"),
        ("", False, "intention * → * (precedence 5)"),
        ("others", True, "the default intention policy, allow"),
    ]


def test_a_name_is_escaped_as_a_spiffe_id_has_it() -> None:
    assert rules(Intention("a b/c%", "orders", 9, True))[0][0] == "a%20b%2Fc%25"


def test_what_no_permission_takes_falls_to_the_default_and_not_to_the_next_intention() -> None:
    tests = (FieldTest("x-a", "suffix", "z", ignore_case=True), FieldTest("x-b", "present", invert=True))
    permission = Permission(True, ("prefix", "/api"), ("GET",), tests)
    asked = Intention("web", "orders", 9, permissions=(permission,))
    world = world_of({"services/orders.yaml": "protocol: http"})
    world = world.apply(Intentions((asked, Intention("*", "orders", 8, True))))
    first, rest, wild = inbound(world).authorization.rule_sets[0].rules

    assert (first.verdict.allow, first.condition.path.begins, list(first.condition.methods)) == (True, "/api", ["GET"])
    suffix, absent = first.condition.headers
    assert (suffix.name, suffix.suffix, suffix.ignore_case) == ("x-a", "z", True)
    assert (absent.name, absent.present, absent.invert) == ("x-b", True, True)
    assert (rest.source, rest.verdict.allow, rest.HasField("condition")) == ("web", False, False)
    assert "no permission takes the request, and the default intention policy is deny" in rest.verdict.by
    assert (wild.source, wild.verdict.allow) == ("", True)


def test_permissions_deny_every_connection_of_a_service_of_protocol_tcp() -> None:
    asked = Intention("web", "orders", 9, permissions=(Permission(True, ("prefix", "/")),))
    (source, allow, by), _ = rules(asked, default=True, protocol="tcp")
    assert (source, allow) == ("web", False)
    assert "about requests, and the service is of protocol tcp" in by


def test_a_token_that_nobody_verifies_denies_and_is_named() -> None:
    (_, allow, by), _ = rules(Intention("web", "orders", 9, True, providers=("okta",)), default=True)
    assert not allow
    assert "asks for a JSON Web Token of okta" in by

    denying = Permission(False, ("exact", "/a"), providers=("okta", "id"))
    (_, allow, by), *_ = rules(Intention("web", "orders", 9, permissions=(denying,)), default=True)
    assert not allow
    assert "permission 1: it asks for a JSON Web Token of okta, id" in by


def test_allow_of_a_document_is_a_rule_set_of_its_own() -> None:
    orders = """\
        protocol: http
        allow:
          - {from: web, path: /api/*, methods: [GET], headers: {x-a: b, x-b: {present: false}}}
          - {from: "*", path: /health}
          - {from: edge}
        """
    world = world_of({"services/orders.yaml": orders}).apply(Intentions((WEB,)))
    intentions, document = inbound(world).authorization.rule_sets
    web, anybody, edge = document.rules

    assert len(intentions.rules) == 1
    assert (web.source, web.condition.path.prefix, list(web.condition.methods)) == ("web", "/api", ["GET"])
    exact, absent = web.condition.headers
    assert (exact.name, exact.exact) == ("x-a", "b")
    assert (absent.name, absent.present, absent.invert) == ("x-b", True, True)
    assert (anybody.source, anybody.condition.path.exact) == ("", "/health")
    assert (edge.source, edge.HasField("condition")) == ("edge", False)
    assert web.verdict.by == "allow at services/orders.yaml:3:5"
    assert not document.otherwise.allow
    assert document.otherwise.by == "no rule of `allow` in services/orders.yaml:1:1 takes it"
    assert summary(world, "orders") == "1 intention, by default deny; 3 rules of `allow`"


def test_an_empty_allow_is_nobody() -> None:
    world = world_of({"services/orders.yaml": "allow: []"})
    (nobody,) = inbound(world).authorization.rule_sets
    assert (list(nobody.rules), nobody.otherwise.allow) == ([], False)
    assert not is_open(world, "orders")


def test_a_candidate_is_no_rule() -> None:
    world = world_of({"services/orders.yaml": "allow_candidate: [{from: web, path: /a}]"})
    made = inbound(world).authorization
    (candidate,) = made.candidates
    assert list(made.rule_sets) == []
    assert (candidate.rules[0].source, candidate.otherwise.allow) == ("web", False)
    assert is_open(world, "orders")


@pytest.mark.parametrize(
    ("mesh", "service", "mode"),
    [
        ("{}", "{}", "mutual"),
        ("tls: {mode: permissive}", "{}", "permissive"),
        ("tls: {mode: permissive}", "tls: mutual", "mutual"),
        ("{}", "tls: disabled", "disabled"),
    ],
)
def test_the_mode_of_a_service_is_its_own_or_that_of_the_mesh(mesh: str, service: str, mode: str) -> None:
    world = world_of({"mesh.yaml": mesh, "services/orders.yaml": service})
    listener = inbound(world)
    assert listener.HasField("tls") == listener.HasField("authorization") == (mode != "disabled")
    assert listener.tls.cleartext == (mode == "permissive")
    assert is_open(world, "orders")
    assert (f"tls: {mode}" in summary(world, "orders")) == (mode != "mutual")


def test_config_entries_say_the_mode_where_no_document_does() -> None:
    entries = ChainsUpdate({"orders": Chain(local=Local(permissive=True))})
    world = world_of({"services/orders.yaml": "protocol: http"}).apply(entries)
    assert inbound(world).tls.cleartext
    strict = world_of({"mesh.yaml": "tls: {mode: mutual}"}).apply(entries)
    assert not inbound(strict).tls.cleartext


def test_the_application_is_told_of_its_callers() -> None:
    by = inbound(world_of({"services/orders.yaml": "{}"})).forwarding.client_cert_by
    assert by == "spiffe://mesh.local/ns/default/dc/dc1/svc/orders"


def test_nobody_of_the_mesh_calls_a_gateway() -> None:
    world = world_of(SHOP).apply(Intentions((WEB,)))
    assert not any(listener.HasField("authorization") for listener in compile(world, GatewayRole("edge"), 1).listeners)


def test_rules_about_requests_are_refused_where_nobody_reads_them() -> None:
    (problem,) = problems_of("protocol: tcp\nallow:\n  - {from: web}\n  - {from: edge, path: /a}\n")
    assert problem.place == "services/orders.yaml:4:5"
    assert "nobody reads any" in problem.message
    assert problem.expected == "`from` alone"


def test_mistakes_in_a_rule_are_named() -> None:
    unknown, missing, wrong = problems_of("allow:\n  - {from: web, form: x}\n  - {path: /a}\n  - {from: Web Shop}\n")
    assert (unknown.message, unknown.hint) == ("unknown field `form`", "did you mean `from`?")
    assert missing.message == "`from` is missing"
    assert "this is not a service: `Web Shop`" in wrong.message
