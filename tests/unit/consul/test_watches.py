"""Many watches on few connections."""

import asyncio
from contextlib import aclosing

from sidecar.consul.watches import SLICE, Watches
from tests.unit.consul.scripted import Reply, connected, scripted


async def test_the_first_watches_block_and_those_beyond_take_turns() -> None:
    replies = {"/v1/a": [Reply("a1", index=1), Reply("a2", index=2)], "/v1/b": [Reply("b1", index=1)]}
    async with scripted(replies) as script, connected(script) as client:
        watches: Watches[str] = Watches(client, blocking=1)
        for name in ("a", "b"):
            watches.add(name, f"/v1/{name}", {"stale": ""})
        told = {}
        async with aclosing(watches.answers()) as answers:
            async for key, answer in answers:
                told[key] = answer.value
                if told == {"a": "a2", "b": "b1"}:
                    break

    assert script.asked("/v1/a")[1].query["index"] == "1"
    (turn,) = script.asked("/v1/b")
    assert turn.query == {"stale": "", "cached": ""}


async def test_a_ring_asks_those_that_take_turns_and_what_did_not_change_is_not_told() -> None:
    replies = {"/v1/b": [Reply("b1"), Reply("b1"), Reply("b2")]}
    async with scripted(replies) as script, connected(script) as client:
        watches: Watches[str] = Watches(client, blocking=0)
        watches.add("b", "/v1/b", {})
        told = []
        async with aclosing(watches.answers()) as answers:
            async for _, answer in answers:
                told.append(answer.value)
                if len(told) == 2:
                    break
                while len(script.requests) < 3:
                    watches.ring()
                    await asyncio.sleep(0)

    assert told == ["b1", "b2"]


async def test_one_that_took_turns_blocks_in_the_place_of_one_that_ends() -> None:
    replies = {"/v1/a": [Reply("a1", index=1)], "/v1/b": [Reply("b1", index=1), Reply("b2", index=2)]}
    async with scripted(replies) as script, connected(script) as client:
        watches: Watches[str] = Watches(client, blocking=1)
        watches.add("a", "/v1/a", {})
        watches.add("b", "/v1/b", {})
        told = set()
        async with aclosing(watches.answers()) as answers:
            async for _, answer in answers:
                told.add(answer.value)
                if told == {"a1", "b1"}:
                    watches.discard("a")
                if "b2" in told:
                    break

        assert "a" not in watches
        assert "b" not in watches
        assert watches.in_turns == 0


async def test_a_failure_in_a_turn_is_tried_again() -> None:
    replies = {"/v1/b": [Reply(b"", status=500), Reply("b1")]}
    async with scripted(replies) as script, connected(script) as client:
        watches: Watches[str] = Watches(client, blocking=0)
        watches.add("b", "/v1/b", {})
        async with aclosing(watches.answers()) as answers:
            assert (await anext(answers))[1].value == "b1"


async def test_the_favoured_block_and_are_asked_first() -> None:
    names = [f"s{number}" for number in range(2 * SLICE)]
    replies = {f"/v1/{name}": [Reply(name, index=1)] for name in ("a", *names)}
    replies |= {f"/v1/{name}?cached": [Reply(name, index=1)] * 9 for name in ("a", *names)}
    async with scripted(replies) as script, connected(script) as client:
        watches: Watches[str] = Watches(client, blocking=1)
        watches.add("a", "/v1/a", {})
        for name in names:
            watches.add(name, f"/v1/{name}", {})
        async with aclosing(watches.answers()) as answers:
            told: set[str] = set()
            while len(told) < len(names) + 1:
                told.add((await anext(answers))[0])
            assert (watches.in_turns, len(watches)) == (len(names), len(names) + 1)

            # One more than can block is in use; those that block and are idle make room.
            watches.favour(frozenset(names[-2:]))
            while "index" not in script.asked(f"/v1/{names[-2]}")[-1].query or watches.in_turns != len(names):
                await asyncio.sleep(0)
            # The one that made room is new among those that take turns.
            while not script.asked("/v1/a") or "cached" not in script.asked("/v1/a")[-1].query:
                await asyncio.sleep(0)
            assert (watches.in_turns, len(watches)) == (len(names), len(names) + 1)
            before = len(script.requests)
            watches.ring()
            others = {"/v1/a", *(f"/v1/{name}" for name in names[:-2])}

            def turns() -> list[str]:
                return [request.path for request in script.requests[before:] if "cached" in request.query]

            while not others <= set(turns()):
                await asyncio.sleep(0)

    # At most one slice of an older pass goes before it.
    assert turns().index(f"/v1/{names[-1]}") <= SLICE
    assert f"/v1/{names[-2]}" not in turns()


async def test_the_favoured_are_asked_again_while_an_agents_cache_may_be_behind() -> None:
    stale = [Reply("b1")] * 4
    async with scripted({"/v1/b": [*stale, Reply("b2")]}) as script, connected(script) as client:
        watches: Watches[str] = Watches(client, blocking=0)
        watches.add("b", "/v1/b", {})
        watches.favour(frozenset({"b"}))
        # One ring, by adding it; nothing else moves, and the next look without one would be after ten seconds.
        async with asyncio.timeout(5), aclosing(watches.answers()) as answers:
            assert (await anext(answers))[1].value == "b1"
            assert (await anext(answers))[1].value == "b2"
