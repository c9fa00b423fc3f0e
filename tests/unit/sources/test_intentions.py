"""Intentions from Consul: in its order, with the default policy, and never more allowed than Consul means."""

from contextlib import aclosing
from typing import Any

import pytest

from sidecar.errors import ConsulError
from sidecar.intentions import FieldTest, Intention, Intentions, Permission
from sidecar.sources import intentions
from sidecar.sources.intentions import AGENT, CHECK, MATCH, IntentionsSource, read
from tests.unit.consul.scripted import Reply, connected, scripted

Row = dict[str, Any]


def row(source: str, destination: str = "orders", **said: object) -> Row:
    """As Consul 1.22 writes one."""
    names = {"SourceNS": "default", "SourceName": source, "DestinationNS": "default", "DestinationName": destination}
    return {**names, "SourceType": "consul", "Precedence": 9, "CreateIndex": 20, "ModifyIndex": 20, **said}


def permitting(*permissions: Row) -> tuple[tuple[Permission, ...], tuple[str, ...]]:
    """What becomes of these, and what of them is not carried out."""
    (intention,), missing = read({"orders": [row("web", Permissions=list(permissions))]}, "orders")
    return intention.permissions, missing


async def watched(replies: dict[str, list[Reply]], count: int) -> list[Intentions]:
    """What a watch told, `count` times."""
    found = []
    async with scripted(replies) as script, connected(script) as client:
        async with aclosing(IntentionsSource(client, "orders").watch()) as updates:
            async for update in updates:
                found.append(update)
                if len(found) == count:
                    break
        (asked, *_) = script.asked(MATCH)
        assert asked.query == {"by": "destination", "name": "orders"}
    return found


async def test_each_change_is_told_in_consuls_order() -> None:
    first = [row("other", Action="deny"), row("web", Action="allow")]
    answers = [Reply({"orders": first}, index=5), Reply({"orders": []}, index=9)]
    allowed, denied = Reply({"Allowed": True}), Reply({"Allowed": False})

    before, after = await watched({MATCH: answers, CHECK: [allowed, denied]}, 2)
    assert before.found == (Intention("other", "orders", 9, False), Intention("web", "orders", 9, True))
    assert (before.default_allow, after) == (True, Intentions((), False))


async def test_the_default_is_what_holds_for_a_caller_of_whom_no_intention_speaks() -> None:
    replies = {MATCH: [Reply({"orders": [row("nobody", Action="allow")]}, index=5)], CHECK: [Reply({"Allowed": False})]}
    async with scripted(replies) as script, connected(script) as client:
        async with aclosing(IntentionsSource(client, "orders").watch()) as updates:
            said = await anext(updates)
        assert script.asked(CHECK)[0].query == {"source": "nobody-", "destination": "orders"}
    assert not said.default_allow


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [
        (Reply({"DebugConfig": {"ACLResolverSettings": {"ACLDefaultPolicy": "allow"}}}), True),
        (
            Reply({"DebugConfig": {"DefaultIntentionPolicy": "deny", "ACLResolverSettings": {}}}),
            False,
        ),
        (Reply(b"Permission denied", status=403), False),
    ],
)
async def test_where_an_intention_speaks_of_everybody_the_agent_tells_the_default(answer: Reply, allowed: bool) -> None:
    everybody = Reply({"orders": [row("*", Permissions=[{"Action": "allow", "HTTP": {"PathExact": "/"}}])]}, index=5)
    (said,) = await watched({MATCH: [everybody], AGENT: [answer]}, 1)
    assert said.default_allow is allowed


async def test_a_default_that_changes_is_noticed_without_a_change_of_intentions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intentions, "DEFAULT_EVERY", 0.01)
    replies = {
        MATCH: [Reply({"orders": []}, index=5)],
        CHECK: [Reply({"Allowed": True}), Reply({"Allowed": True}), Reply({"Allowed": False})],
    }
    told = await watched(replies, 2)
    assert [said.default_allow for said in told] == [True, False]


def test_permissions_are_read_whole() -> None:
    http = {
        "PathPrefix": "/api/",
        "Methods": ["GET", "PUT"],
        "Header": [
            {"Name": "X-A", "Exact": "1", "Invert": True},
            {"Name": "x-b", "Contains": "z", "IgnoreCase": True},
            {"Name": "x-c", "Present": True},
        ],
    }
    jwt = {"Providers": [{"Name": "okta", "VerifyClaims": [{"Path": ["a"], "Value": "b"}]}]}
    permissions, missing = permitting(
        {"Action": "allow", "HTTP": http}, {"Action": "deny", "HTTP": {"PathRegex": "/x.*"}, "JWT": jwt}
    )
    headers = (
        FieldTest("x-a", "exact", "1", invert=True),
        FieldTest("x-b", "contains", "z", ignore_case=True),
        FieldTest("x-c", "present"),
    )
    assert permissions == (
        Permission(True, ("prefix", "/api/"), ("GET", "PUT"), headers),
        Permission(False, ("regex", "/x.*"), providers=("okta",)),
    )
    assert missing == ()


@pytest.mark.parametrize(
    ("http", "named"),
    [
        ({"PathRegex": "(?=x)"}, "PathRegex (?=x)"),
        ({"Header": [{"Name": "x-a", "Regex": "(?=x)"}]}, "Header x-a"),
        ({"Header": [{"Name": "Host", "Exact": "a"}]}, "Header host"),
        ({"Header": [{"Name": ":method", "Exact": "a"}]}, "Header :method"),
        ({"QueryParam": [{"Name": "a"}]}, "HTTP.QueryParam"),
    ],
)
def test_what_cannot_be_judged_allows_nothing_and_denies_all_that_it_may_mean(http: Row, named: str) -> None:
    http = {"Methods": ["GET"], **http}
    permissions, missing = permitting({"Action": "allow", "HTTP": http}, {"Action": "deny", "HTTP": http})
    assert permissions == (Permission(False, methods=("GET",)),)
    assert missing == tuple(f"intention web → orders (precedence 9), permission {n}: {named}" for n in (1, 2))


def test_nothing_is_left_of_an_intention_whose_permissions_are_all_beyond_us() -> None:
    strange = {"Action": "allow", "HTTP": {"New": "thing"}}
    (intention,), _ = read({"orders": [row("web", Permissions=[strange])]}, "orders")
    assert (intention.allow, intention.permissions) == (False, ())


@pytest.mark.parametrize("strange", [{"SourcePeer": "cluster-02"}, {"SourceType": "other"}, {"SourceNS": "blue"}])
def test_callers_that_cannot_reach_us_are_named_and_are_no_service_of_that_name(strange: Row) -> None:
    found, (missing,) = read({"orders": [row("web", Action="allow", **strange)]}, "orders")
    assert found == ()
    assert next(iter(strange)) in missing


@pytest.mark.parametrize("bad", ["x", [1], [{}], [row("web")], [row("web", Action="maybe")]])
def test_an_answer_of_another_form_is_no_answer(bad: object) -> None:
    with pytest.raises(ConsulError, match="something that is not its API"):
        read({"orders": bad}, "orders")
