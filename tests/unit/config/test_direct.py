"""What a gateway's document says of answers of its own: redirects, responses, pages, and TLS for all."""

from datetime import timedelta

import pytest

from sidecar.config.load import load
from sidecar.config.model import Gateway
from sidecar.config.model.gateway import GatewayListener, GatewayRoute
from sidecar.errors import Problem
from tests.unit.documents import problems_of

TLS = "tls: {certificates: [{cert: a.pem, key: a.key}]}"


def edge(route: str = "to: {service: orders}", listener: str = "", rest: str = "") -> str:
    listeners = f"listeners: [{{port: 8080{listener and ', ' + listener}}}]"
    return f"{listeners}\n{rest}\nroutes:\n  - {{name: all, {route}}}\n"


def gateway(route: str = "to: {service: orders}", listener: str = "", rest: str = "") -> Gateway:
    model = load("gateways/edge.yaml", edge(route, listener, rest).encode()).model
    assert isinstance(model, Gateway)
    return model


def route(text: str) -> GatewayRoute:
    return gateway(text).routes[0]


def listener(text: str) -> GatewayListener:
    return gateway(listener=text).listeners[0]


def only(text: str) -> Problem:
    (problem,) = problems_of(text, "gateways/edge.yaml")
    return problem


def test_a_redirect_says_what_becomes_of_a_place() -> None:
    redirect = route(
        "match: {path: /old/*}, redirect: {status: 308, scheme: https, host: new.example.com, port: 8443, "
        "path: /new/*, strip_query: true}"
    ).redirect

    assert redirect is not None
    assert (redirect.status, redirect.scheme, redirect.host, redirect.port) == (308, "https", "new.example.com", 8443)
    assert (str(redirect.path), redirect.strip_query) == ("/new/*", True)
    plain = route("match: {path: /old/*}, redirect: {path: /new}").redirect
    assert plain is not None
    assert (plain.status, plain.scheme, plain.strip_query) == (302, None, False)


def test_pages_and_responses_hold_text() -> None:
    model = gateway(
        'respond: {status: 503, headers: {retry-after: "60"}, body: "soon\\n"}, '
        'error_pages: [{statuses: [401], body: ""}]',
        rest="error_pages: [{statuses: [404, 500-599], content_type: 'text/plain; charset=\"utf-8\"', body: sorry}]",
    )

    respond = model.routes[0].respond
    assert respond is not None
    assert (respond.status, respond.headers, respond.body) == (503, {"retry-after": "60"}, "soon\n")
    assert model.routes[0].error_pages[0].content_type == "text/html; charset=utf-8"
    assert model.error_pages[0].statuses == ((404, 404), (500, 599))


def test_browsers_are_told_for_a_year_to_stay_with_tls() -> None:
    hsts = listener(f"{TLS}, hsts: {{}}").hsts

    assert hsts is not None
    assert (hsts.max_age, hsts.include_subdomains, hsts.preload) == (timedelta(days=365), False, False)
    behind = listener("forwarding: {hops: 1}, hsts: {max_age: 17520h, include_subdomains: true, preload: true}").hsts
    assert behind is not None
    assert behind.max_age == timedelta(days=730)
    https = listener("https_redirect: {}").https_redirect
    assert https is not None
    assert (https.status, https.port) == (301, 443)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("redirect: {host: a.test}, to: {service: orders}", "a route has `to` or `redirect`, not both"),
        ("redirect: {host: a.test}, respond: {status: 200}", "a route has `redirect` or `respond`, not both"),
        ("redirect: {host: a.test}, timeout: 5s", "a route with `redirect` sends nothing on"),
        ("respond: {status: 200}, rewrite: {path: /*}", "a route with `respond` sends nothing on"),
        ("respond: {status: 200}, retry: {attempts: 2}", "a route with `respond` sends nothing on"),
        ("respond: {status: 200}, response_headers: {remove: [server]}", "a route with `respond` sends nothing on"),
        ("redirect: {}", "this leads back to itself"),
        ("redirect: {strip_query: true}", "this leads back to itself"),
        ("match: {path: /a/*}, redirect: {path: /a/*}", "this leads back to itself"),
        ("match: {path: /a}, redirect: {path: /b/*}", "the path of the match has no star"),
        ("redirect: {status: 304, host: a.test}", "`304` is not one of the choices"),
        ("redirect: {scheme: ftp}", "`ftp` is not one of the choices"),
        ("redirect: {host: '*.a.test'}", "this is not a host: `*.a.test`"),
        ("redirect: {host: 'A.test:80'}", "this is not a host: `A.test:80`"),
        ("redirect: {port: 0}", "`0` is out of bounds"),
        ("respond: {status: 101}", "`101` is no status of an answer"),
        ("respond: {status: 204, body: a}", "an answer with status 204 has no content"),
        ("respond: {status: 200, headers: {content-length: '1'}}", "`content-length` is of a connection"),
        ("respond: {status: 200, headers: {x-sidecar-reason: a}}", "`x-sidecar-reason` is what proxies tell"),
        (f"respond: {{status: 200, body: {'a' * 16_385}}}", "this has 16385 bytes"),
    ],
)
def test_a_route_that_cannot_be_meant_is_refused_with_its_place(text: str, message: str) -> None:
    problem = only(edge(text))

    assert problem.message.startswith(message), problem
    assert problem.place.startswith("gateways/edge.yaml:4:")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{statuses: [], body: a}", "an empty list is a page for no answer"),
        ("{statuses: [200], body: a}", "`200` is no error"),
        ("{statuses: [404], body: a, content_type: html}", "this is no type of content: `html`"),
        ("{statuses: [404], body: a, content_type: 'text/html;'}", "this is no type of content"),
        ("{statuses: [404]}", "`body` is missing"),
    ],
)
def test_a_page_that_cannot_be_meant_is_refused_with_its_place(text: str, message: str) -> None:
    problem = only(edge(rest=f"error_pages: [{text}]"))

    assert problem.message.startswith(message), problem
    assert problem.place.startswith("gateways/edge.yaml:2:")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{TLS}, https_redirect: {{}}", "all clients of this listener speak TLS already"),
        ("https_redirect: {status: 200}", "`200` is not one of the choices"),
        ("hsts: {}", "no request comes here by TLS"),
        ("hsts: {}, https_redirect: {}", "no request comes here by TLS"),
        (f"{TLS}, hsts: {{preload: true}}", "browsers' lists ask for more"),
        (
            f"{TLS}, hsts: {{preload: true, include_subdomains: true, max_age: 8759h}}",
            "browsers' lists ask for more",
        ),
        (f"{TLS}, hsts: {{max_age: 87601h}}", "this duration is too long"),
        (f"{TLS}, hsts: {{max_age: 1500ms}}", "this duration is a whole number of seconds"),
    ],
)
def test_a_listener_that_cannot_be_meant_is_refused_with_its_place(text: str, message: str) -> None:
    problem = only(edge(listener=text))

    assert problem.message.startswith(message), problem
    assert problem.place.startswith("gateways/edge.yaml:1:")
