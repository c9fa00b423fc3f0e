"""Headers, query and cookies change on the way, by what the request says; whatever it says, it adds nothing more."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.e2e.test_authentication import ISSUER, KEY, digest, key_set, token
from tests.mesh import LOOPBACK, Mesh, Proxy, eventually
from tests.peers import http1
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, Request, sized

Json = dict[str, Any]

CHANGES: Json = {
    "request_headers": {
        "set": {
            "x-asked": "%METHOD% %SCHEME%://%AUTHORITY%%PATH%",
            "x-page": "%QUERY(page)%",
            "x-session": "%COOKIE(session)%",
            "x-agent": "%HEADER(user-agent)%/100%%",
        },
        "add": {"x-from": "%CLIENT%"},
    },
    "request_query": {"set": {"from": "%CLIENT%", "agent": "%HEADER(user-agent)%"}, "remove": ["debug"]},
    "request_cookies": {"set": {"route": "%ROUTE%"}, "add": {"agent": "%HEADER(user-agent)%"}, "remove": ["secret"]},
    "response_headers": {"set": {"x-id": "%REQUEST_ID%", "x-host": "%HOST%"}},
}
WHO: Json = {
    "request_headers": {"set": {"x-user": "%CONSUMER%", "x-sub": "%CLAIM(sub)%", "x-mail": "<%CLAIM(mail)%>"}},
    "request_query": {"set": {"mail": "%CLAIM(mail)%"}},
}


@dataclass(frozen=True)
class Shop:
    """A gateway before an application that tells what it gets."""

    edge: Proxy

    def ask(self, host: str, target: str = "/", **fields: str) -> tuple[Answer, Json]:
        fields = {name.replace("_", "-"): value for name, value in fields.items()}
        with Http1.connect(self.edge.edge) as client:
            answer = client.ask(Request("GET", target, host, fields))
        return answer, json.loads(answer.body)

    def told(self, host: str, target: str = "/", **fields: str) -> Json:
        return self.ask(host, target, **fields)[1]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    def app(request: Request) -> Answer:
        body = json.dumps({**request.fields, ":path": request.path}).encode()
        return Answer(200, {**sized(body), "x-id": "the shop's"}, body)

    with http1.server(app) as server, Mesh(tmp_path_factory.mktemp("shop")) as mesh:
        (mesh.config / "keys.jwks").write_text(key_set(first=KEY))
        mesh.document("services/shop", tls="disabled", endpoints=[{"address": server.address}])
        mesh.document("consumers/ann", keys=[digest("ann-key")], tokens=[{"issuer": ISSUER, "value": "ann-at-id"}])
        methods = [{"jwt": {"issuer": ISSUER, "jwks": "keys.jwks"}}, {"key": {"header": "x-api-key", "query": "key"}}]
        to = {"service": "shop"}
        routes = [
            {"name": "changed", "match": {"host": "changed.test"}, "to": to, **CHANGES},
            {"name": "who", "match": {"host": "who.test"}, "to": to, "authenticate": methods, **WHO},
        ]
        mesh.document("gateways/edge", listeners=[LOOPBACK], routes=routes)
        yield Shop(mesh.gateway("edge"))


def test_values_tell_of_the_request(shop: Shop) -> None:
    answer, told = shop.ask(
        "changed.test:80",
        "/a%2fb?debug=1&page=1%202&from=me",
        user_agent="curl/8",
        cookie="session=7; secret=8",
        x_session="forged",
        x_id="mine",
    )

    assert told["x-asked"] == "GET http://changed.test:80/a%2Fb"
    assert (told["x-page"], told["x-session"], told["x-agent"]) == ("1%202", "7", "curl/8/100%")
    assert told["x-from"] == "127.0.0.1"
    assert told[":path"] == "/a%2Fb?page=1%202&from=127.0.0.1&agent=curl%2F8"
    assert told["cookie"] == "session=7; route=changed; agent=curl/8"
    assert (answer.fields["x-host"], answer.fields["x-id"]) == ("changed.test", told["x-request-id"])


def test_what_is_not_there_cannot_be_made_up(shop: Shop) -> None:
    told = shop.told("changed.test", "/", x_page="forged", x_session="forged", x_agent="forged")

    assert not {"x-page", "x-session", "x-agent"} & told.keys()
    assert told[":path"] == "/?from=127.0.0.1"
    assert told["cookie"] == "route=changed"


def test_the_service_is_told_who_calls_in_its_own_words(shop: Shop) -> None:
    def told() -> Json:
        return shop.told("who.test", "/?mail=eve", authorization=f"Bearer {token(mail='ann@id.test')}", x_user="eve")

    eventually("the issuer's keys are known", lambda: "x-user" in told(), within=10)
    assert (told()["x-user"], told()["x-sub"], told()["x-mail"]) == ("ann", "ann-at-id", "<ann@id.test>")
    assert told()[":path"] == "/?mail=ann%40id.test"

    by_key = shop.told("who.test", "/?key=ann-key&mail=eve", x_sub="eve", x_mail="eve")
    assert (by_key["x-user"], by_key[":path"]) == ("ann", "/")
    assert not {"x-sub", "x-mail"} & by_key.keys()


@pytest.mark.parametrize("mail", ["a\r\nx-admin: 1", "a\nb", "a\0b", "a\x7fb", "a" * 9000])
def test_hostile_claims_add_nothing(shop: Shop, mail: str) -> None:
    def told() -> Json:
        return shop.told("who.test", "/", authorization=f"Bearer {token(mail=mail)}", x_mail="forged")

    eventually("the issuer's keys are known", lambda: "x-user" in told(), within=10)
    assert not {"x-mail", "x-admin"} & told().keys()
    assert told()["x-sub"] == "ann-at-id"
    path = told()[":path"]
    assert path == "/" if len(mail) > 8192 else path.startswith("/?mail=a%") and path.isprintable()


def test_hostile_headers_stay_one_parameter_and_one_cookie(shop: Shop) -> None:
    agent = 'a&b=c#d; e="f", \\ \t%41 \x80'
    with Http1.connect(shop.edge.edge) as client:
        client.send(f"GET / HTTP/1.1\r\nhost: changed.test\r\nuser-agent: {agent}\r\n\r\n".encode("latin-1"))
        told = json.loads(client.answer().body)

    assert told[":path"] == "/?from=127.0.0.1&agent=a%26b%3Dc%23d%3B%20e%3D%22f%22%2C%20%5C%20%09%2541%20%80"
    assert told["cookie"] == "route=changed; agent=a&b=c#d%3B%20e=%22f%22%2C%20%5C%20%09%2541%20%80"


async def test_http2_and_other_clients_alike(shop: Shop) -> None:
    with Http2.connect(shop.edge.edge) as client:
        answer = client.ask(Request("GET", "/?debug", "changed.test", {"user-agent": "h2", "cookie": "a=1"}))
    told = json.loads(answer.body)
    assert (told[":path"], told["cookie"]) == ("/?from=127.0.0.1&agent=h2", "a=1; route=changed; agent=h2")
    async with aiohttp.ClientSession(headers={"host": "changed.test", "user-agent": "aio"}) as session:
        url = f"http://{shop.edge.edge}/a?debug=1&b=2"
        async with session.get(url, cookies={"secret": "1"}) as got:
            seen = json.loads(await got.text())
    assert (seen[":path"], seen["cookie"]) == ("/a?b=2&from=127.0.0.1&agent=aio", "route=changed; agent=aio")
