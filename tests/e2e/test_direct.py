"""What a gateway answers by itself: redirects, responses, pages of its own, and TLS for everybody."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
import pytest

from tests.mesh import LOOPBACK, Mesh, Proxy
from tests.peers import http1
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, Request, sized
from tests.peers.scripted import refusing
from tests.tls import Secured, secured

CALL = {"content-type": "application/grpc"}
SORRY = "<h1>Sorry — we will be back</h1>"
ROUTES = [
    {"name": "old", "match": {"path": "/old/*"}, "redirect": {"status": 308, "path": "/new/*"}},
    {"name": "gone", "match": {"path": "/gone"}, "redirect": {"host": "new.test", "path": "/", "strip_query": True}},
    {
        "name": "soon",
        "match": {"path": "/soon"},
        "respond": {"status": 503, "headers": {"retry-after": "60"}, "body": "down for an hour\n"},
        "cors": {"allow_origins": ["*"]},
    },
    {"name": "empty", "match": {"path": "/empty"}, "respond": {"status": 204}},
    {
        "name": "keys",
        "match": {"path": "/keys"},
        "authenticate": [{"key": {}}],
        "respond": {"status": 200, "body": "come in"},
        "error_pages": [{"statuses": [401], "content_type": "application/json", "body": '{"who": "are you"}'}],
    },
    {"name": "broken", "match": {"path": "/broken"}, "to": {"service": "broken"}},
    {"name": "shop", "match": {"path": "/shop"}, "to": {"service": "shop"}},
    {"name": "closed", "match": {"path": "/closed"}, "to": {"service": "closed"}},
]


@dataclass(frozen=True)
class Edges:
    """The listeners of one gateway: with TLS, one in the clear that sends everybody there, one that takes them."""

    proxy: Proxy
    tls: Secured

    @property
    def secure(self) -> str:
        return self.proxy.listeners["edge-0"]

    @property
    def moved(self) -> str:
        return self.proxy.listeners["edge-0-2"]

    @property
    def clear(self) -> str:
        return self.proxy.listeners["edge-0-3"]

    def ask(self, path: str, method: str = "GET", **fields: str) -> Answer:
        """In the clear."""
        fields = {name.replace("_", "-"): value for name, value in fields.items()}
        with Http1.connect(self.clear) as client:
            return client.ask(Request(method, path, "edge.test:8080", fields))


def own(request: Request) -> Answer:
    """An application's answer, with what only proxies should say."""
    body = b"the shop's own words"
    return Answer(503, {**sized(body), "strict-transport-security": "max-age=1"}, body)


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edges]:
    directory = tmp_path_factory.mktemp("edge")
    tls = secured(directory)
    with http1.server(own) as server, refusing() as nobody, Mesh(directory) as mesh:
        mesh.document("services/shop", tls="disabled", endpoints=[{"address": server.address}])
        mesh.document("services/broken", tls="disabled", endpoints=[{"address": nobody}])
        mesh.document("services/closed", allow=[])
        closed = mesh.sidecar("closed", int(server.address.rpartition(":")[2]))
        mesh.document("services/closed", allow=[], endpoints=[{"address": closed.inbound}])
        listeners = [
            {**tls.listener, "hsts": {"max_age": "8760h", "include_subdomains": True}},
            {**LOOPBACK, "https_redirect": {"port": 8443}},
            LOOPBACK,
        ]
        pages = [{"statuses": [403, 404, "500-599"], "body": SORRY}]
        mesh.document("gateways/edge", listeners=listeners, routes=ROUTES, error_pages=pages)
        yield Edges(mesh.gateway("edge"), tls)


def test_a_redirect_tells_where_what_was_asked_for_is_now(edges: Edges) -> None:
    for path, status, place in [
        ("/old/a/b?c=d", 308, "http://edge.test:8080/new/a/b?c=d"),
        ("/old", 308, "http://edge.test:8080/new"),
        ("/old//evil.test", 308, "http://edge.test:8080/new//evil.test"),
        ("/old/../old/a", 308, "http://edge.test:8080/new/a"),
        ("/gone?c=d", 302, "http://new.test/"),
    ]:
        answer = edges.ask(path)
        assert (answer.status, answer.fields["location"], answer.body) == (status, place, b""), path
    with Http2.connect(edges.clear) as client:
        answer = client.ask(Request("POST", "/old/a", "edge.test", sized(b"body"), b"body"))
        assert (answer.status, answer.fields["location"]) == (308, "http://edge.test/new/a")


def test_what_a_redirect_tells_holds_no_more_than_one_field(edges: Edges) -> None:
    with Http1.connect(edges.clear) as client:
        client.send(b"GET /old/%0d%0aset-cookie:%20a=b HTTP/1.1\r\nhost: edge.test\r\n\r\n")
        answer = client.answer()
    assert (answer.status, answer.fields["location"]) == (308, "http://edge.test/new/%0D%0Aset-cookie:%20a=b")
    assert "set-cookie" not in answer.fields


def test_a_route_answers_with_what_is_written(edges: Edges) -> None:
    answer = edges.ask("/soon", origin="https://page.test")
    assert (answer.status, answer.body) == (503, b"down for an hour\n")
    assert answer.fields["content-type"] == "text/plain; charset=utf-8"
    assert (answer.fields["retry-after"], answer.fields["access-control-allow-origin"]) == ("60", "*")
    head = edges.ask("/soon", "HEAD")
    assert (head.status, head.body, head.fields["content-length"]) == (503, b"", "17")
    assert (edges.ask("/empty").status, edges.ask("/empty").body) == (204, b"")
    with Http2.connect(edges.clear) as client:
        call = client.ask(Request("POST", "/soon", "edge.test", CALL, bytes(5)))
    assert (call.status, call.fields["grpc-status"]) == (200, "14")
    assert call.fields["grpc-message"] == "down for an hour"


def test_who_may_not_come_in_gets_the_page_of_the_route(edges: Edges) -> None:
    answer = edges.ask("/keys")
    assert (answer.status, answer.fields["content-type"]) == (401, "application/json")
    assert answer.body == b'{"who": "are you"}'
    assert answer.fields["www-authenticate"], "it is told how to come in all the same"


def test_pages_take_the_place_of_explanations_alone(edges: Edges) -> None:
    for path, status in [("/nowhere", 404), ("/broken", 503), ("/closed", 403)]:
        answer = edges.ask(path)
        assert (answer.status, answer.fields["content-type"]) == (status, "text/html; charset=utf-8"), path
        assert answer.body.decode() == SORRY
        assert answer.fields["x-request-id"], "by it the reason is found"
        head = edges.ask(path, "HEAD")
        assert (head.status, head.body) == (status, b"")
    assert edges.ask("/shop").body == b"the shop's own words"
    with Http2.connect(edges.clear) as client:
        call = client.ask(Request("POST", "/nowhere", "edge.test", CALL, bytes(5)))
    assert (call.fields["grpc-status"], call.body) == ("12", b"")


def test_requests_in_the_clear_are_sent_to_tls(edges: Edges) -> None:
    with Http1.connect(edges.moved) as client:
        answer = client.ask(Request("POST", "/shop?a=b", "edge.test:8080", sized(b"body"), b"body"))
        assert (answer.status, answer.fields["location"]) == (301, "https://edge.test:8443/shop?a=b")
        assert client.ask(Request("GET", "/nowhere", "edge.test")).status == 301, "they reach no route"
        lied = client.ask(Request("GET", "/shop", "edge.test", {"x-forwarded-proto": "https"}))
        assert lied.status == 301, "whom nobody trusts is not believed"
    assert "strict-transport-security" not in answer.fields


async def test_answers_by_tls_tell_browsers_to_stay(edges: Edges) -> None:
    for path, status in [("/shop", 503), ("/nowhere", 404), ("/old", 308), ("/soon", 503)]:
        async with aiohttp.ClientSession() as session:
            context = ssl.create_default_context(cafile=edges.tls.authority)
            asked = session.get(f"https://{edges.secure}{path}", ssl=context, allow_redirects=False)
            async with asked as answer:
                told = answer.headers.getall("strict-transport-security")
                assert (answer.status, told) == (status, ["max-age=31536000; includeSubDomains"]), path
                assert answer.headers.get("location", "https://").startswith("https://")
    assert edges.ask("/shop").fields["strict-transport-security"] == "max-age=1", "in the clear it is the shop's"
