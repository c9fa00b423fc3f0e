"""`sidecar explain --dir`: the data plane's own matcher says what a directory of documents does with a request."""

import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.cli import main

MESH = {
    "services/orders": {
        "protocol": "grpc",
        "endpoints": [
            {"address": "127.0.0.1:21001", "meta": {"version": "1"}},
            {"address": "127.0.0.1:21002", "meta": {"version": "2"}},
        ],
        "subsets": {"v1": {"where": 'meta.version == "1"'}, "v2": {"where": 'meta.version == "2"'}},
        "routes": [
            {"name": "beta", "match": {"headers": {"x-beta": "1"}}, "to": {"subset": "v2"}},
            {
                "name": "canary",
                "split": [{"weight": 95, "to": {"subset": "v1"}}, {"weight": 5, "to": {"subset": "v2"}}],
                "timeout": "5s",
                "retry": {"attempts": 2, "on": ["unavailable"], "per_try_timeout": "1s"},
            },
        ],
        "allow": [{"from": "edge", "methods": ["POST"]}],
    },
    "services/web": {"endpoints": [{"address": "127.0.0.1:21003"}]},
    "gateways/edge": {
        "listeners": [{"port": 8080}],
        "routes": [
            {
                "name": "api",
                "match": {"host": "shop.example.com", "path": "/api/*"},
                "rewrite": {"path": "/*"},
                "to": {"service": "orders"},
            }
        ],
    },
}


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    for key, fields in MESH.items():
        path = tmp_path / f"{key}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(fields))
    return tmp_path


def explain(mesh: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """The exit code."""
    monkeypatch.setattr("sys.argv", ["sidecar", "explain", *arguments, "--dir", str(mesh)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def hops(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_a_request_is_followed_from_the_edge_to_the_service(
    mesh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "http://shop.example.com:8080/api/shop.v1.Orders/Get?x=1"
    assert explain(mesh, monkeypatch, "POST", url, "--json") == 0
    edge, orders = hops(capsys)
    assert (edge["role"], edge["name"], edge["listener"], edge["host"]) == (
        "gateway",
        "edge",
        "edge-8080",
        "shop.example.com",
    )
    assert "canary" in edge["route"]["name"]
    (beta,) = edge["others"]
    assert "beta" in beta["name"]
    assert beta["conditions"] == ['header x-beta is not there, and should be "1"']
    assert [(to["cluster"], to["share"]) for to in edge["destinations"]] == [
        ("orders/v1", "95 %"),
        ("orders/v2", "5 %"),
    ]
    assert edge["target"] == "/shop.v1.Orders/Get?x=1"
    assert {"filter": "rewrite", "effect": f"/api{edge['target']} becomes {edge['target']}"} in edge["filters"]
    # A gateway's route speaks for itself.
    assert (orders["name"], orders["listener"], orders["refused"]) == ("orders", "inbound", "")
    assert orders["from"].endswith("/svc/edge")
    assert [rule["allow"] for rule in orders["rules"]] == [True]
    assert [to["service"] for to in orders["destinations"]] == [""]


def test_what_the_path_has_is_told_with_what_becomes_of_it(
    mesh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def route(name: str, match: dict[str, str], rewrite: dict[str, str]) -> dict[str, Any]:
        return {"name": name, "match": match, "rewrite": rewrite, "to": {"service": "web"}}

    routes = [
        route("numbers", {"path_regex": "/users/(?P<id>[0-9.]+)"}, {"path": "/{id}"}),
        route("orders", {"path": "/users/{id}/orders/*"}, {"path": "/v2/{id}/*", "host": "{id}.internal"}),
    ]
    (mesh / "gateways/edge.yaml").write_text(json.dumps({"listeners": [{"port": 8080}], "routes": routes}))

    assert explain(mesh, monkeypatch, "GET", "http://shop.example.com:8080/users/Ann/orders/7?x=1", "--json") == 0
    edge, *_ = hops(capsys)
    assert [(other["name"], other["conditions"]) for other in edge["others"]] == [
        ("numbers", ["path /users/Ann/orders/7 is not one of /users/(?P<id>[0-9.]+)"])
    ]
    effects = [item["effect"] for item in edge["filters"] if item["filter"] == "rewrite"]
    assert effects == ["/users/Ann/orders/7?x=1 becomes /v2/Ann/7?x=1", "the host becomes ann.internal"]

    assert explain(mesh, monkeypatch, "GET", "http://shop.example.com:8080/users/..5", "--json") == 0
    edge, *_ = hops(capsys)
    assert (edge["target"], edge["others"][0]["conditions"]) == (
        "/..5",
        ["path /users/..5 is not /users/{id}/orders/*"],
    )
    (mesh / "gateways/edge.yaml").write_text(
        json.dumps(
            {"listeners": [{"port": 8080}], "routes": [route("dots", {"path_regex": "/x(?P<d>.*)"}, {"path": "/{d}"})]}
        )
    )
    assert explain(mesh, monkeypatch, "GET", "http://shop.example.com:8080/x..", "--json") == 3
    edge, *_ = hops(capsys)
    assert edge["refused"].startswith("rewrite: The path that was made has `.` or `..`")


def test_a_refusal_names_the_rule_and_ends_with_3(
    mesh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(mesh, monkeypatch, "GET", "http://orders/", "--at", "web", "-H", "X-Beta: 1") == 3
    text = capsys.readouterr().out
    assert "at sidecar web, listener outbound, host orders" in text
    assert "yes: route" in text
    assert "100 % to orders/v2: grpc, least_request, mutual TLS with spiffe://mesh.local" in text
    assert "refused by no rule of `allow` in services/orders.yaml:1:1 takes it" in text


def test_timeout_and_retry_are_those_of_the_route(
    mesh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    explain(mesh, monkeypatch, "GET", "http://orders.mesh/", "--at", "web", "--json")
    web = hops(capsys)[0]
    assert web["timeout_ms"] == 5000
    assert web["retry"] == {"attempts": 2, "on": ["connect-failure", "unavailable"], "per_try_timeout_ms": 1000}


def test_where_no_route_takes_it_the_nearest_host_is_named(
    mesh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(mesh, monkeypatch, "GET", "http://order/", "--at", "web") == 3
    text = capsys.readouterr().out
    assert "no route takes it; did you mean `orders`?" in text
    assert "more, for other hosts" in text


def test_what_a_route_asks_of_its_callers_is_told_and_not_judged(
    mesh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jwt = {"issuer": "https://id.test", "jwks": "id.jwks"}
    methods = [{"key": {}}, {"all": [{"basic": {}}, {"jwt": jwt}]}, {"anonymous": "guest"}]
    rules = [{"groups": ["a", "b"]}, {"consumers": ["ann"], "claims": {"role": "admin"}}]
    route = {"name": "all", "to": {"service": "web"}, "authenticate": methods, "allow": rules}
    (mesh / "gateways/edge.yaml").write_text(json.dumps({"listeners": [{"port": 8080}], "routes": [route]}))
    (mesh / "consumers").mkdir()
    (mesh / "consumers/guest.yaml").write_text("{}")

    assert explain(mesh, monkeypatch, "GET", "http://shop.example.com:8080/", "--at", "edge", "--json") == 0
    filters = {each["filter"]: each["effect"] for each in hops(capsys)[0]["filters"]}
    ways = "key, or basic and jwt of https://id.test, or nothing as consumer guest"
    assert filters["authenticate"] == f"{ways}, else 401; credentials are not looked at here"
    assert filters["allow"] == "group a|b or consumer ann and claim role admin"


def test_what_a_gateway_takes_is_told_and_judged_as_far_as_it_can_be(
    mesh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    route = {
        "name": "all",
        "to": {"service": "web"},
        "sources": {"allow": ["127.0.0.0/8"], "deny": ["127.0.0.9/32"]},
        "rate_limit": {"requests": 5, "per": "1m", "by": ["source", {"header": "x-tenant"}]},
        "methods": ["GET"],
        "content_types": ["application/json"],
    }
    document = {"listeners": [{"port": 8080}], "routes": [route], "rate_limit": {"requests": 9}}
    (mesh / "gateways/edge.yaml").write_text(json.dumps(document))
    url = "http://shop.example.com:8080/"

    assert explain(mesh, monkeypatch, "GET", url, "--at", "edge", "--json") == 0
    (edge, *_) = hops(capsys)
    told = [each["effect"] for each in edge["filters"]]
    assert "clients of 1 networks may not, clients of 1 networks may, else 403" in told
    assert "GET, else 405" in told
    assert "content of application/json, else 415" in told
    assert "of the route: 5 in 60 s by source, header x-tenant, else 429" in told
    assert "of the gateway: 9 in 1 s, else 429" in told
    assert edge["refused"] == ""

    assert explain(mesh, monkeypatch, "POST", url, "--at", "edge", "--json") == 3
    assert "`methods` of the route has no POST." in hops(capsys)[0]["refused"]


def test_what_a_gateway_answers_by_itself_is_told(
    mesh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    routes = [
        {"name": "old", "match": {"path": "/old/*"}, "redirect": {"status": 308, "path": "/new/*"}},
        {"name": "soon", "match": {"path": "/soon"}, "respond": {"status": 503, "body": "soon"}},
        {
            "name": "all",
            "to": {"service": "web"},
            "request_query": {"set": {"from": "%CLIENT%"}, "add": {"a": "b"}, "remove": ["debug"]},
            "request_cookies": {"remove": ["secret"]},
        },
    ]
    listener = {"port": 8080, "https_redirect": {"port": 8443}}
    (mesh / "gateways/edge.yaml").write_text(json.dumps({"listeners": [listener], "routes": routes}))

    def told(path: str) -> dict[str, str]:
        url = f"http://shop.example.com:8080{path}"
        assert explain(mesh, monkeypatch, "GET", url, "--at", "edge", "--json") == 0
        return {each["filter"]: each["effect"] for each in hops(capsys)[0]["filters"]}

    assert told("/old/a")["redirect"] == "it is answered here with 308 and another place, nobody is called"
    assert told("/soon")["respond"] == "it is answered here with 503, nobody is called"
    assert told("/soon")["https_redirect"] == "what comes in the clear is sent to port 8443"
    assert told("/")["request_query"] == "debug is taken away, from becomes %CLIENT%, a is b too"
    assert told("/")["request_cookies"] == "secret is taken away"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("GET", "/path", "--at", "web"), "expected a URL with a host"),
        (("GET", "http://orders/", "--at", "wep"), "did you mean `web`?"),
        (("GET", "http://orders/", "--at", "web", "-H", "nothing"), "is not `name: value`"),
        (("G T", "http://orders/", "--at", "web"), "G T: "),
    ],
)
def test_what_is_no_request_is_told(
    mesh: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    assert explain(mesh, monkeypatch, *arguments) == 1
    assert words in capsys.readouterr().err
