"""From where requests may come to a gateway, what they must be like, and how many they may be."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import last_failure, live
from tests.mesh import LOOPBACK, Mesh, Proxy, eventually
from tests.peers import http1
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, Request, sized

Json = dict[str, Any]

# Answers of the service say what is left of a quota of its own.
FINE = Answer(200, {**sized(b"fine"), "ratelimit": '"default";r=7;t=1'}, b"fine")
HOUR = {"per": "1h"}
# None of them has an address of loopback.
MANY = [f"{100 + number // 65536}.{number // 256 % 256}.{number % 256}.0/24" for number in range(100_000)]


@dataclass
class Edge:
    """A gateway before an application, that believes what its clients say of who has sent their requests."""

    mesh: Mesh
    proxy: Proxy
    document: Json = field(default_factory=dict)

    def routes(self, *routes: Json, **fields: Any) -> None:
        """In force when this returns."""
        made = [{"match": {"host": f"{route['name']}.test"}, "to": {"service": "shop"}, **route} for route in routes]
        self.document = {
            "listeners": [{**LOOPBACK, "forwarding": {"trusted": ["127.0.0.0/8"]}}],
            "routes": made,
            **fields,
        }
        self.mesh.document("gateways/edge", **self.document)
        live(self.proxy, "gateway", "edge", self.document)

    def ask(self, route: str, method: str = "GET", source: str = "", body: bytes = b"", **fields: str) -> Answer:
        fields = {name.replace("_", "-"): value for name, value in fields.items()}
        if source:
            fields["x-forwarded-for"] = source
        if body:
            fields |= sized(body)
        with Http1.connect(self.proxy.edge) as client:
            return client.ask(Request(method, "/", f"{route}.test", fields, body))

    def write(self, name: str, *networks: str) -> None:
        """A file with these, whole from the first moment."""
        new = self.mesh.config / f"{name}.new"
        new.write_text("\n".join(networks))
        new.replace(self.mesh.config / name)

    def statuses(self, route: str, times: int, source: str = "", **fields: str) -> list[int]:
        return [self.ask(route, "GET", source, b"", **fields).status for _ in range(times)]


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with http1.server(lambda request: FINE) as server, Mesh(tmp_path_factory.mktemp("edge")) as mesh:
        mesh.document("services/shop", tls="disabled", endpoints=[{"address": server.address}])
        for name in ("ann", "bob"):
            mesh.document(f"consumers/{name}", keys=[{"sha256": hashlib.sha256(name.encode()).hexdigest()}])
        day = {"requests": 2, "per": "24h"}
        for name, group in (("cid", "gold"), ("dan", "gold")):
            keys = [{"sha256": hashlib.sha256(name.encode()).hexdigest()}]
            mesh.document(f"consumers/{name}", keys=keys, groups=[group])
        mesh.document("consumers/guest")
        mesh.document("consumers/few", keys=[{"sha256": hashlib.sha256(b"few").hexdigest()}], rate_limit=day)
        mesh.document("consumers/anybody", rate_limit=day)
        mesh.document("gateways/edge", listeners=[LOOPBACK], routes=[{"name": "all", "to": {"service": "shop"}}])
        yield Edge(mesh, mesh.gateway("edge"))


def reason(edge: Edge, host: str) -> str:
    return str(last_failure(edge.proxy, host)["reason"])


def test_addresses_are_denied_for_a_gateway_or_a_route_and_lists_may_be_long(edge: Edge) -> None:
    edge.write("many.txt", *MANY)
    inside = {
        "name": "inside",
        "sources": {"allow": ["10.0.0.0/8", "fd00::/8", "203.0.113.7/32"], "deny": ["10.9.0.0/16"]},
    }
    edge.routes(
        {"name": "open"}, inside, sources={"deny": ["203.0.113.0/29", "2001:db8::/32"], "deny_files": ["many.txt"]}
    )

    for source, of_open, of_inside in [
        ("10.1.2.3", 200, 200),
        ("10.9.2.3", 200, 403),
        ("192.0.2.1", 200, 403),
        ("fd00::7", 200, 200),
        ("::ffff:10.1.2.3", 200, 200),
        ("2001:db8::1", 403, 403),
        ("203.0.113.7", 403, 403),
        (MANY[0].replace("0/24", "1"), 403, 403),
        (MANY[-1].replace("0/24", "255"), 403, 403),
        ("101.134.160.1", 200, 403),
    ]:
        assert (edge.ask("open", source=source).status, edge.ask("inside", source=source).status) == (
            of_open,
            of_inside,
        ), source
    assert edge.ask("unknown", source="2001:db8::1").status == 403, "who is denied learns of no route"
    assert edge.ask("unknown", source="10.1.2.3").status == 404
    assert edge.ask("open", source="2001:db8::1").body.count(b"sources") == 0, "nor why"
    eventually("the reason", lambda: reason(edge, "open.test") == "address-refused", within=5)

    with Http2.connect(edge.proxy.edge) as client:
        fields = {"content-type": "application/grpc", "x-forwarded-for": "2001:db8::1"}
        answer = client.ask(Request("POST", "/shop.Orders/Get", "open.test", fields, bytes(5)))
    assert (answer.status, answer.fields["grpc-status"]) == (200, "7")


def test_a_list_in_a_file_is_taken_up_when_it_changes_and_a_wrong_one_changes_nothing(edge: Edge) -> None:
    edge.write("office.txt", "10.1.0.0/16", "# nobody else")
    edge.routes({"name": "office", "sources": {"allow_files": ["office.txt"]}})

    def statuses() -> list[int]:
        return [edge.ask("office", source=source).status for source in ("10.1.2.3", "10.2.2.3")]

    assert statuses() == [200, 403]
    edge.write("office.txt", "10.2.0.1/16")
    eventually("it is told", lambda: "office.txt:1: this is not a network" in edge.proxy.output(), within=10)
    assert statuses() == [200, 403]
    edge.write("office.txt", "10.2.0.0/16 ; moved")
    eventually("it is taken up", lambda: statuses() == [403, 200], within=10)


def test_other_methods_and_other_content_are_refused_in_their_own_words(edge: Edge) -> None:
    edge.routes({"name": "api", "methods": ["GET", "POST"], "content_types": ["application/json", "image/*"]})

    refused = edge.ask("api", "DELETE")
    assert (refused.status, refused.fields["allow"]) == (405, "GET, POST")
    eventually("the reason", lambda: reason(edge, "api.test") == "method-refused", within=5)
    for kind, status in [("application/json; charset=utf-8", 200), ("image/png", 200), ("text/plain", 415)]:
        assert edge.ask("api", "POST", body=b"{}", content_type=kind).status == status, kind
    assert edge.ask("api", "POST", body=b"{}").status == 415, "nobody knows what it is"
    assert edge.ask("api").status == 200, "there is no content"
    eventually("the reason", lambda: reason(edge, "api.test") == "content-type-refused", within=5)


def test_a_route_and_the_gateway_take_so_many_and_tell_what_is_left(edge: Edge) -> None:
    limited = {"name": "limited", "rate_limit": {"requests": 2, **HOUR}}
    edge.routes(limited, {"name": "free"}, rate_limit={"requests": 4, **HOUR})

    answers = [edge.ask("limited") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[0].fields["ratelimit-policy"] == '"route";q=2;w=3600, "gateway";q=4;w=3600'
    assert re.fullmatch(r'"route";r=1;t=\d+, "gateway";r=3;t=\d+', answers[0].fields["ratelimit"])
    refused = answers[-1]
    assert re.fullmatch(r'"route";r=0;t=\d+', refused.fields["ratelimit"])
    assert 0 < int(refused.fields["retry-after"]) <= 1800
    eventually("the reason", lambda: reason(edge, "limited.test") == "rate-limited", within=5)
    # What the route refuses the gateway has not taken.
    assert edge.statuses("free", 3) == [200, 200, 429]

    # What was counted outlives the document that says how much.
    edge.routes({**limited, "timeout": "9s"}, {"name": "free"})
    assert edge.statuses("limited", 1) == [429]
    assert "ratelimit-policy" not in edge.ask("free").fields
    assert edge.ask("free").fields["ratelimit"] == '"default";r=7;t=1', "the service's own word"


def test_calls_hear_of_a_limit_in_grpcs_own_words(edge: Edge) -> None:
    edge.routes({"name": "calls", "rate_limit": {"requests": 1, "per": "24h", "by": ["method"]}})

    with Http2.connect(edge.proxy.edge) as client:
        fields = {"content-type": "application/grpc"}
        first, second = (
            client.ask(Request("POST", "/shop.Orders/Get", "calls.test", fields, bytes(5))) for _ in range(2)
        )
    assert "grpc-status" not in first.fields or first.fields["grpc-status"] != "8"
    assert (second.status, second.fields["grpc-status"]) == (200, "8")
    assert int(second.fields["grpc-retry-pushback-ms"]) > 0


def test_each_client_consumer_and_header_has_a_quota_of_its_own(edge: Edge) -> None:
    once: Json = {"requests": 1, "per": "24h"}
    methods: list[Json] = [{"key": {}}, {"anonymous": "guest"}]
    edge.routes(
        {"name": "source", "rate_limit": {**once, "by": ["source"]}},
        {"name": "header", "rate_limit": {**once, "by": [{"header": "x-tenant"}]}},
        {"name": "consumer", "rate_limit": {**once, "by": ["consumer"]}, "authenticate": methods},
    )

    assert edge.statuses("source", 2, source="10.0.0.1") == [200, 429]
    assert edge.statuses("source", 2, source="10.0.0.2") == [200, 429]
    assert edge.statuses("source", 1, source="2001:db8:1::1") == [200]
    assert edge.statuses("source", 1, source="2001:db8:1::2") == [429], "its network is one client"
    assert edge.statuses("header", 2, x_tenant="a") == [200, 429]
    assert edge.statuses("header", 2, x_tenant="b") == [200, 429]
    assert edge.statuses("consumer", 2, x_api_key="ann") == [200, 429]
    assert edge.statuses("consumer", 2, x_api_key="bob", source="10.0.0.3") == [200, 429]
    assert edge.statuses("consumer", 2, source="10.0.0.3") == [200, 429], "who shows nothing counts by its address"
    assert edge.statuses("consumer", 2, source="10.0.0.4") == [200, 429]
    assert edge.statuses("consumer", 2, x_api_key="eve", source="10.0.0.5") == [401, 401], "wrong keys take nothing"


def test_a_group_shares_a_quota_and_who_is_in_none_has_its_own(edge: Edge) -> None:
    limit = {"requests": 2, "per": "24h", "by": ["group"], "algorithm": "sliding_window"}
    edge.routes({"name": "group", "rate_limit": limit, "authenticate": [{"key": {}}]})

    assert edge.statuses("group", 1, x_api_key="cid") == [200]
    shared, refused = edge.ask("group", x_api_key="dan"), edge.ask("group", x_api_key="cid")
    assert (shared.status, refused.status) == (200, 429)
    assert re.fullmatch(r'"route";r=0;t=\d+', refused.fields["ratelimit"])
    # Two that came evenly in one day: the first leaves the window six hours after its end.
    assert 12 * 3600 <= int(refused.fields["retry-after"]) <= 36 * 3600
    assert edge.statuses("group", 3, x_api_key="ann") == [200, 200, 429]


def test_a_consumer_has_a_quota_of_its_own_whatever_the_route(edge: Edge) -> None:
    methods: list[Json] = [{"key": {}}, {"anonymous": "anybody"}]
    edge.routes({"name": "one"}, {"name": "two", "rate_limit": {"requests": 9, **HOUR}}, authenticate=methods)

    assert edge.statuses("one", 1, x_api_key="few") == [200]
    second, third = edge.ask("two", x_api_key="few"), edge.ask("two", x_api_key="few")
    assert (second.status, third.status) == (200, 429)
    assert re.fullmatch(r'"route";r=8;t=\d+, "consumer";r=0;t=\d+', second.fields["ratelimit"])
    assert edge.statuses("one", 3, x_api_key="ann") == [200] * 3, "it has none"
    assert edge.statuses("one", 3, source="10.0.1.1") == [200, 200, 429]
    assert edge.statuses("one", 1, source="10.0.1.2") == [200], "each address is anybody"


def test_what_is_wrong_is_refused_with_its_place_and_the_good_document_serves(edge: Edge, tmp_path: Path) -> None:
    edge.routes({"name": "good", "sources": {"deny": ["10.0.0.0/8"]}})
    wrong = {**edge.document, "sources": {"deny": ["10.0.0.1/8"]}}
    edge.mesh.document("gateways/edge", **wrong)

    eventually("it is refused", lambda: "this is not a network: `10.0.0.1/8`" in edge.proxy.get("/ready")[1], within=10)
    assert (edge.ask("good").status, edge.ask("good", source="10.0.0.1").status) == (200, 403)
    assert json.loads(edge.proxy.get("/ready")[1])
