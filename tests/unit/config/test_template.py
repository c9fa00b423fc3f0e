"""Changes of headers, parameters and cookies, whose values may tell of the request."""

import pytest

from sidecar.config.load import load
from sidecar.config.model import Gateway
from sidecar.errors import Problem
from tests.unit.documents import problems_of


def edge(said: str, rest: str = "") -> str:
    return f"{rest}\nroutes:\n  - {{name: all, to: {{service: orders}}, {said}}}\n"


def only(text: str) -> Problem:
    (problem,) = problems_of(text, "gateways/edge.yaml")
    return problem


def test_values_tell_of_the_request() -> None:
    said = (
        "request_headers: {set: {x-by: '%CONSUMER% (%CLAIM(sub)%) by %METHOD% 100%%'}}, "
        "request_query: {set: {from: '%CLIENT%'}, add: {tag: 'a%%20b'}, remove: [debug]}, "
        "request_cookies: {set: {session: '%HEADER(x-session)%'}, remove: [secret]}, "
        "response_headers: {add: {x-route: '%ROUTE%'}}, authenticate: [{key: {}}]"
    )
    model = load("gateways/edge.yaml", edge(said).encode()).model

    assert isinstance(model, Gateway)
    (route,) = model.routes
    assert route.request_headers is not None
    assert route.request_headers.needs_caller
    assert route.request_query is not None
    assert route.request_query.remove == ("debug",)
    assert not route.request_query.needs_caller


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("request_headers: {set: {x-a: '%METHOD'}}", "a percent sign is not closed"),
        ("request_headers: {set: {x-a: 'a %METHDO%'}}", "there is no fact `%METHDO%`"),
        ("request_headers: {set: {x-a: '%HEADER()%'}}", "there is no fact `%HEADER()%`"),
        ("request_headers: {set: {x-a: '%HEADER(X-User)%'}}", "there is no fact `%HEADER(X-User)%`"),
        ("request_headers: {set: {x-a: '%METHOD(a)%'}}", "there is no fact `%METHOD(a)%`"),
        ("request_headers: {set: {x-a: ' %METHOD%'}}", "no header can have this value"),
        ('request_headers: {set: {x-a: "%METHOD%\\r\\nx"}}', "no header can have this value"),
        ("request_headers: {set: {x-consumer-username: ann}}", "`x-consumer-username` is what proxies tell"),
        ("request_headers: {remove: [x_consumer_groups]}", "`x_consumer_groups` is what proxies tell"),
        ("request_headers: {add: {x-anonymous-consumer: 'true'}}", "`x-anonymous-consumer` is what proxies tell"),
        ("request_headers: {set: {x_forwarded_for: '%CLIENT%'}}", "`x_forwarded_for` is what proxies tell"),
        ("request_headers: {set: {x-a: '%CONSUMER%'}}", "nobody is asked who calls"),
        ("response_headers: {add: {x-a: '%CLAIM(sub)%'}}", "nobody is asked who calls"),
        ("request_query: {set: {a: 'b&c'}}", "no parameter has this value"),
        ("request_query: {set: {a: 'b c'}}", "no parameter has this value"),
        ("request_query: {set: {a: 'b%%2'}}", "no parameter has this value"),
        ("request_query: {set: {'a=b': c}}", "this is no name of a parameter: `a=b`"),
        ("request_query: {set: {a: b}, remove: [a]}", "`a` stands in `set` already"),
        ("request_cookies: {set: {a: 'b;c'}}", "no cookie has this value"),
        ("request_cookies: {set: {a: 'b %METHOD%'}}", "no cookie has this value"),
        ("request_cookies: {add: {'a b': c}}", "this is no name of a cookie: `a b`"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(said: str, message: str) -> None:
    problem = only(edge(said))

    assert problem.message.startswith(message), problem
    assert problem.place.startswith("gateways/edge.yaml:3:")


def test_a_fact_of_callers_is_known_where_they_are_asked() -> None:
    told = "split: [{weight: 1, to: {service: a}, request_headers: {set: {x-a: '%CLAIM(sub)%'}}}]"
    text = f"routes: [{{name: all, {told}}}]\n"

    assert only(text).message == "nobody is asked who calls"
    document = load("gateways/edge.yaml", f"authenticate: [{{key: {{}}}}]\n{text}".encode())
    assert isinstance(document.model, Gateway)
