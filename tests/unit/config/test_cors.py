"""The `cors` of a gateway's route."""

import pytest

from sidecar.config.load import load
from sidecar.config.model import Gateway
from sidecar.errors import Problem
from tests.unit.documents import problems_of


def gateway(cors: str) -> str:
    return f"routes:\n  - {{name: all, to: {{service: web}}, cors: {cors}}}\n"


def only_problem(cors: str) -> Problem:
    (problem,) = problems_of(gateway(cors), "gateways/edge.yaml")
    return problem


def test_a_policy_is_read_and_what_it_leaves_out_has_a_default() -> None:
    model = load("gateways/edge.yaml", gateway("{allow_origins: ['https://*.example.com:8443', '*']}").encode()).model

    assert isinstance(model, Gateway)
    (route,) = model.routes
    assert route.cors is not None
    assert route.cors.allow_origins == ("https://*.example.com:8443", "*")
    assert route.cors.allow_methods == ("GET", "HEAD", "POST")
    assert (route.cors.max_age, route.cors.allow_credentials) == (None, False)


@pytest.mark.parametrize(
    ("origin", "hint"),
    [
        ("https://shop.example.com/", "did you mean `https://shop.example.com`?"),
        ("https://Shop.example.com", "did you mean `https://shop.example.com`?"),
        ("https://shop.example.com:443", "did you mean `https://shop.example.com`?"),
        ("shop.example.com", ""),
        ("https://", ""),
        ("https://*", ""),
        ("https://a.*.example.com", ""),
        ("null", ""),
    ],
)
def test_an_origin_that_no_page_has_is_refused(origin: str, hint: str) -> None:
    problem = only_problem(f"{{allow_origins: ['{origin}']}}")

    assert origin in problem.message
    assert "https://shop.example.com" in problem.expected
    assert problem.hint == hint


def test_nobody_is_no_policy() -> None:
    assert "no page" in only_problem("{allow_origins: []}").message


@pytest.mark.parametrize(
    "star",
    ["allow_origins: ['*']", "allow_origins: ['http://a'], allow_headers: ['*']"],
)
def test_a_star_and_credentials_are_refused(star: str) -> None:
    problem = only_problem(f"{{{star}, allow_credentials: true}}")

    assert "browsers take no `*`" in problem.message
    assert star.rpartition(": ['*']")[0].rpartition(" ")[2] in problem.message
    load("gateways/edge.yaml", gateway(f"{{{star}}}").encode())
