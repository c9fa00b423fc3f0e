"""What a gateway answers by itself becomes what the data plane answers with."""

from sidecar.snapshot import GatewayRole, compile
from sidecar.wire import snapshot_pb2 as wire
from tests.unit.documents import SHOP, world_of

EDGE = GatewayRole("edge")


def snapshot(gateway: str) -> wire.Snapshot:
    return compile(world_of({**SHOP, "gateways/edge.yaml": gateway}), EDGE, 1)


def routes(text: str) -> list[wire.Route]:
    (table,) = snapshot(f"listeners: [{{port: 8080}}]\nroutes:\n  - {{name: all, {text}}}\n").route_tables
    return list(table.routes)


def test_a_redirect_has_its_match_and_leads_nowhere() -> None:
    (made,) = routes("match: {host: a.test, path: /old/*}, redirect: {host: b.test, path: /new/*}")

    assert made.match == wire.Match(hosts=["a.test"], path=wire.PathMatch(prefix="/old"))
    assert made.redirect == wire.Redirect(status=302, host="b.test", prefix="/new")
    assert not made.destinations
    (whole,) = routes("redirect: {status: 308, scheme: https, port: 8443, path: /, strip_query: true}")
    assert whole.redirect == wire.Redirect(status=308, scheme="https", port=8443, whole="/", strip_query=True)
    assert not whole.match.HasField("path")


def test_who_is_asked_is_asked_before_an_answer_and_preflights_come_first() -> None:
    preflight, made = routes(
        "respond: {status: 200, body: hello}, cors: {allow_origins: ['*']}, rate_limit: {requests: 1}, methods: [GET]"
    )

    assert preflight.preflight
    assert made.cors == preflight.cors
    assert [quota.name for quota in made.quotas] == ["route"]
    assert list(made.shape.methods) == ["GET"]
    (field,) = made.respond.headers
    assert (field.name, field.value, made.respond.body) == ("content-type", "text/plain; charset=utf-8", b"hello")


def test_pages_are_those_of_the_route_and_of_all_listeners() -> None:
    made = snapshot(
        "listeners: [{port: 8080, https_redirect: {port: 8443}}, {port: 8443, forwarding: {hops: 1}, hsts: {}}]\n"
        "error_pages: [{statuses: [404, 500-599], body: sorry}]\n"
        "routes:\n"
        "  - {name: all, to: {service: inventory}, error_pages: [{statuses: [401], content_type: a/b, body: who}]}\n"
    )
    clear, tls = made.listeners

    statuses = [wire.StatusRange(first=404, last=404), wire.StatusRange(first=500, last=599)]
    page = wire.ErrorPage(statuses=statuses, content_type="text/html; charset=utf-8", body=b"sorry")
    assert list(clear.error_pages) == list(tls.error_pages) == [page]
    assert (clear.https_redirect, clear.hsts) == (wire.HttpsRedirect(status=301, port=8443), "")
    assert not tls.HasField("https_redirect")
    assert tls.hsts == "max-age=31536000"
    ((route,),) = (table.routes for table in made.route_tables)
    (own,) = route.error_pages
    assert (own.content_type, own.body) == ("a/b", b"who")


def test_all_that_browsers_may_be_told() -> None:
    hsts = "{max_age: 17520h, include_subdomains: true, preload: true}"
    (listener,) = snapshot(f"listeners: [{{port: 8443, forwarding: {{hops: 1}}, hsts: {hsts}}}]\n").listeners

    assert listener.hsts == "max-age=63072000; includeSubDomains; preload"
