"""Web pages of other origins: the gateway answers preflights, and says in answers who may read them."""

from collections.abc import Iterator

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from tests.e2e.conftest import Running, last_failure
from tests.peers import http1
from tests.peers.grpc_app import SERVICE, GrpcApp
from tests.peers.grpc_web import BINARY, ask
from tests.peers.http1 import Http1
from tests.peers.message import Answer, Request
from tests.peers.scripted import refusing

SHOP = "https://shop.test"
POLICY = {
    "allow_origins": [SHOP, "https://*.pages.test"],
    "allow_methods": ["PUT", "POST"],
    "allow_headers": ["x-own"],
    "expose_headers": ["x-count"],
    "max_age": "10m",
    "allow_credentials": True,
}


@pytest.fixture
def app(running: Running) -> Iterator[str]:
    """A service whose app has a policy of its own, behind a route with another; the name is its host."""

    def says(request: Request) -> Answer:
        own = {"access-control-allow-origin": "https://app.test", "x-count": "3", "vary": "accept"}
        return Answer(200, own, f"{request.method} by {request.fields.get('origin')}".encode())

    with http1.server(says) as server:
        service = running.service(server.address, protocol="http")
        route = {"name": service, "match": {"host": service}, "to": {"service": service}, "cors": POLICY}
        running.route(route)
        yield service


async def asked(running: Running, host: str, method: str, **fields: str) -> tuple[int, CIMultiDictProxy[str], str]:
    """Status, fields and content of an answer of the gateway; `_` in names of fields stands for `-`."""
    headers = {"host": host, **{name.replace("_", "-"): value for name, value in fields.items()}}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://{running.edge.edge}/things", headers=headers) as answer,
    ):
        return answer.status, answer.headers, await answer.text()


@pytest.mark.parametrize("origin", [SHOP, "https://a.pages.test"])
async def test_a_preflight_is_answered_by_the_gateway(running: Running, app: str, origin: str) -> None:
    status, fields, content = await asked(
        running,
        app,
        "OPTIONS",
        origin=origin,
        access_control_request_method="PUT",
        access_control_request_headers="x-own",
    )
    assert (status, content) == (204, "")
    assert fields["access-control-allow-origin"] == origin
    assert fields["access-control-allow-methods"] == "PUT, POST"
    allowed = fields["access-control-allow-headers"].split(", ")
    assert allowed == ["x-own", "content-type", "grpc-timeout", "x-grpc-web", "x-user-agent"]
    assert (fields["access-control-max-age"], fields["access-control-allow-credentials"]) == ("600", "true")
    assert fields["vary"] == "origin"


async def test_a_page_of_another_origin_is_told_nothing(running: Running, app: str) -> None:
    stranger = "https://pages.test"
    status, fields, _ = await asked(running, app, "OPTIONS", origin=stranger, access_control_request_method="PUT")
    assert status == 204
    assert not [name for name in fields if name.lower().startswith("access-control")]
    # It is no firewall: the request itself is answered, and only browsers keep the answer from the page.
    status, fields, content = await asked(running, app, "GET", origin=stranger)
    assert (status, content) == (200, f"GET by {stranger}")
    assert not [name for name in fields if name.lower().startswith("access-control")]
    assert fields.getall("vary") == ["accept", "origin"]


async def test_an_answer_says_who_may_read_it_in_place_of_the_app(running: Running, app: str) -> None:
    _, fields, content = await asked(running, app, "PUT", origin=SHOP)
    assert content == f"PUT by {SHOP}"
    assert fields.getall("access-control-allow-origin") == [SHOP]
    assert fields["access-control-expose-headers"] == "x-count, grpc-message, grpc-status, grpc-status-details-bin"
    assert fields["access-control-allow-credentials"] == "true"
    assert fields.getall("vary") == ["accept", "origin"]


async def test_an_options_request_that_is_no_preflight_reaches_the_app(running: Running, app: str) -> None:
    assert (await asked(running, app, "OPTIONS", origin=SHOP))[2] == f"OPTIONS by {SHOP}"
    assert (await asked(running, app, "OPTIONS", access_control_request_method="PUT"))[2] == "OPTIONS by None"


async def test_what_the_gateway_refuses_can_be_read_too(running: Running) -> None:
    with refusing() as nobody:
        service = running.service(nobody, protocol="http")
        any_page = {"allow_origins": ["*"]}
        running.route({"name": service, "match": {"host": service}, "to": {"service": service}, "cors": any_page})
        status, fields, _ = await asked(running, service, "GET", origin="https://any.test")
        assert last_failure(running.edge, service)["reason"] == "connect-failure"
    assert (status, fields["access-control-allow-origin"]) == (503, "*")
    assert "vary" not in fields


def test_a_page_calls_by_grpc_web(running: Running, echo: GrpcApp) -> None:
    page = {"origin": SHOP}
    running.route({"name": "echo", "match": {"host": "echo"}, "to": {"service": "echo"}, "cors": POLICY})
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-grpc-web"}
    with Http1.connect(running.edge.edge) as browser:
        preflight = browser.ask(Request("OPTIONS", f"/{SERVICE}/Fail", "echo", {**page, **asks}))
        assert preflight.status == 204
        assert preflight.fields["access-control-allow-origin"] == SHOP
        answer = browser.ask(ask("Fail", "echo", b"sold", kind=BINARY, **page))
    assert answer.fields["access-control-allow-origin"] == SHOP
    assert "grpc-status" in answer.fields["access-control-expose-headers"]
