"""HTTP/2 floods, and readers that do not read, against a gateway: each is ended, named and cheap; nobody else notices.

The short form is ours alone. The long form has nginx, HAProxy, Envoy and nghttpx beside it and writes the table that
stands in `attacks/results.md`.
"""

import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from benchmarks.prerequisites import check, versions
from tests.mesh import eventually
from tests.peers.http2 import Http2
from tests.peers.message import Request
from tests.real.attacks import report
from tests.real.attacks.attacker import Attacker
from tests.real.attacks.floods import FLOODS, Flood
from tests.real.attacks.frames import (
    CANCEL,
    END_HEADERS,
    END_STREAM,
    INITIAL_WINDOW_SIZE,
    REFUSED_STREAM,
    Kind,
    fields,
    frame,
    number,
    setting,
)
from tests.real.attacks.rig import PATIENCE, STREAMS, App, Seen, Victim, attack, nghttpd, ours, peers
from tests.real.programs import debian

pytestmark = pytest.mark.real

# PROTOCOL_ERROR and ENHANCE_YOUR_CALM.
ENDS_A_FLOOD = {0x1, 0xB}
# Seconds of CPU time, and bytes of memory, that one flood may cost.
CPU, GROWTH = 0.1, 8 << 20
# Calls of a client that gives them up, a second, and for how many seconds.
GIVEN_UP, SHORTLY, LONG = 100, 3, 100
# Seconds until it is plain that a peer lets a flood go on.
OPEN = 2.5

RESULTS = Path(__file__).with_name("attacks") / "results.md"
ids = pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.name.replace(" ", "-"))


@pytest.fixture(scope="module")
def app() -> Iterator[tuple[App, str]]:
    app = App()
    with app.serve() as address:
        yield app, address


@pytest.fixture(scope="module")
def gateway(app: tuple[App, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with ours(app[1], tmp_path_factory.mktemp("attacks")) as victim:
        yield victim


def new(victim: Victim, before: dict[str, int]) -> list[str]:
    """Budgets that have ended a connection since."""
    return [budget for budget, closed in victim.excesses().items() for _ in range(closed - before[budget])]


def judge(flood: Flood, seen: Seen, told: list[str]) -> None:
    """What holds of every flood, whoever reads."""
    assert seen.is_closed, seen
    assert len(told) == 1, told
    assert seen.harm is None, seen
    assert seen.cpu <= CPU, seen
    assert seen.grown <= GROWTH, seen


@ids
def test_a_flood_is_ended_with_a_word_and_a_count(gateway: Victim, flood: Flood) -> None:
    before = dict(gateway.excesses())
    seen = attack(gateway, flood)
    told = eventually("the end is counted", lambda: new(gateway, before))
    judge(flood, seen, told)
    assert seen.code in ENDS_A_FLOOD, seen
    assert told[0] in flood.budgets


@ids
def test_who_floods_and_does_not_read_is_closed_too(gateway: Victim, flood: Flood) -> None:
    before = dict(gateway.excesses())
    seen = attack(gateway, flood, reads=False)
    told = eventually("the end is counted", lambda: new(gateway, before), within=PATIENCE)
    judge(flood, seen, told)
    # Where nothing of ours could be written any more nothing was read either.
    assert told[0] in {*flood.budgets, "unanswered"}


def test_the_rig_tells_a_flood_that_nobody_ends(tmp_path: Path) -> None:
    debian("nghttpd")
    with nghttpd(tmp_path) as server:
        for flood in (flood for flood in FLOODS if flood.is_often_open):
            seen = attack(server, flood, patience=OPEN)
            assert (seen.is_closed, seen.code) == (False, None), (flood.name, seen)


def test_one_stream_too_many_is_refused(gateway: Victim) -> None:
    def ask(index: int) -> bytes:
        return frame(Kind.HEADERS, 2 * index + 1, fields("/hang"), END_HEADERS | END_STREAM)

    with Attacker(gateway.address) as client:
        client.run(b"".join(map(ask, range(STREAMS + 1))), lambda: bool(client.codes(Kind.RST_STREAM)), PATIENCE)
        (refused,) = (told for told in client.told if told.kind == Kind.RST_STREAM)
        assert (refused.stream, refused.code) == (2 * STREAMS + 1, REFUSED_STREAM)
        assert not client.has_ended
        assert not client.codes(Kind.GOAWAY)


def large(window: int, address: str) -> Attacker:
    """A client that will give each stream so much room."""
    return Attacker(address, settings=setting(INITIAL_WINDOW_SIZE, window))


ASK = frame(Kind.HEADERS, 1, fields("/large"), END_HEADERS | END_STREAM)


def test_a_reader_without_a_window_is_cut_off(gateway: Victim) -> None:
    with large(0, gateway.address) as client:
        client.run(ASK, lambda: bool(client.codes(Kind.RST_STREAM)), PATIENCE)
        assert client.codes(Kind.RST_STREAM) == [CANCEL]
        assert any(told.kind == Kind.HEADERS for told in client.told)
        assert not client.has_ended


def test_a_reader_of_one_byte_at_a_time_is_cut_off(gateway: Victim) -> None:
    with large(1, gateway.address) as client:
        client.run(ASK, lambda: any(told.kind == Kind.DATA for told in client.told), PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while not client.codes(Kind.RST_STREAM) and time.monotonic() < deadline:
            more = frame(Kind.WINDOW_UPDATE, 1, number(1))
            # Slower than any budget minds.
            client.run(more, lambda: False, 0.15)
        assert client.codes(Kind.RST_STREAM) == [CANCEL]
        read = [told for told in client.told if told.kind == Kind.DATA]
        assert len(read) > 1
        assert all(len(told.payload) == 1 for told in read)
        assert not client.has_ended


def test_a_client_that_does_not_read_its_answers_is_closed(gateway: Victim) -> None:
    before = dict(gateway.excesses())
    room = frame(Kind.WINDOW_UPDATE, 0, number(1 << 30))
    with large(1 << 30, gateway.address) as client:
        asked = b"".join(frame(Kind.HEADERS, at, fields("/large"), END_HEADERS | END_STREAM) for at in (1, 3, 5, 7))
        client.run(room + asked, lambda: False, PATIENCE, reads=False)
        assert client.has_ended
    assert new(gateway, before) == ["unanswered"]


def gives_up(address: str, seconds: int) -> None:
    """A client whose every call is given up; it and others go on."""
    with Http2.connect(address) as peer:
        begun = time.monotonic()
        for number in count():
            if number >= seconds * GIVEN_UP:
                break
            stream = peer.request(Request(path="/hang" if number % 2 else "/small"))
            peer.reset(stream)
            # What the proxy says meanwhile, such as PINGs, is read and answered.
            peer.socket.setblocking(False)
            try:
                while True:
                    peer.read()
            except BlockingIOError:
                pass
            finally:
                peer.socket.setblocking(True)
            time.sleep(max(0.0, begun + number / GIVEN_UP - time.monotonic()))
        assert peer.ask(Request(path="/small")).status == 200
        assert not peer.goaways


def test_a_client_that_gives_up_all_its_calls_may_go_on(gateway: Victim) -> None:
    before = dict(gateway.excesses())
    gives_up(gateway.address, SHORTLY)
    assert not new(gateway, before)


@pytest.mark.long
@pytest.mark.timeout(2 * LONG)
def test_ten_thousand_calls_given_up_on_one_connection(gateway: Victim) -> None:
    before = dict(gateway.excesses())
    gives_up(gateway.address, LONG)
    assert not new(gateway, before)


@pytest.mark.long
# Seconds: five proxies, each flood twice, as long as an open one takes.
@pytest.mark.timeout(5 * 2 * len(FLOODS) * 10)
def test_floods_beside_other_proxies(
    app: tuple[App, str], gateway: Victim, tmp_path: Path, note: Callable[[str], None]
) -> None:
    check()
    with peers(app[1], tmp_path) as others:
        table = {
            victim.name: {
                flood.name: (
                    attack(victim, flood, patience=OPEN),
                    attack(victim, flood, reads=False, patience=OPEN),
                )
                for flood in FLOODS
            }
            for victim in (gateway, *others)
        }
    RESULTS.write_text(report.markdown(table, versions()))
    note(f"the table is in {RESULTS}")
    for name, seen in table["sidecar"].items():
        assert all(one.is_closed for one in seen), name
    # Negative control: what the rig calls open is seen where there is no budget.
    often_open = [flood.name for flood in FLOODS if flood.is_often_open]
    assert all(any(not floods[name][0].is_closed for floods in table.values()) for name in often_open)
