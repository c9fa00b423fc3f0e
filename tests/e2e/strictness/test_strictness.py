"""What two readers could understand differently is not forwarded, whichever side says it.

A gateway stands before an application that records what reaches it, and before an endpoint that says odd things.
"""

import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import Running
from tests.e2e.strictness.answers import ANSWERS, Said
from tests.e2e.strictness.downgrades import DOWNGRADES, Downgrade
from tests.e2e.strictness.framing import FRAMINGS
from tests.e2e.strictness.mutated import disagreement, mutated
from tests.e2e.strictness.origin import Recorded, ask, recording, statuses
from tests.e2e.strictness.reading import read, read_answer
from tests.e2e.strictness.requests import HEADS
from tests.e2e.strictness.vector import Vector, get, post
from tests.peers import http1, scripted
from tests.peers.message import Answer, sized

# Of the vectors of all kinds: the table is not to shrink unseen.
AT_LEAST = 400
# A few seconds' worth; the long form takes ten thousand.
SEED, MUTATED = 10, 400
# The endpoint's answer to whatever is asked behind an odd one.
PLAIN = b"plain"


@dataclass
class Edge:
    """Where the gateway is, and what reaches the application behind it."""

    address: str
    recorded: Recorded


@pytest.fixture(scope="module")
def edge(running: Running) -> Iterator[Edge]:
    with recording() as (address, recorded):
        service = running.service(address, outlier_detection={"enabled": False})
        # Whatever host a vector names.
        running.route({"name": "any-host", "to": {"service": service}})
        yield Edge(running.edge.edge, recorded)
        running.remove(service)


def complaint(address: str, recorded: Recorded, vector: Vector) -> str:
    """What is wrong with what became of it; "" nothing."""
    answered = statuses(address, vector.sent)
    bodies = tuple(reading.body for reading in recorded.taken())
    if (answered, bodies) == (vector.statuses, vector.bodies):
        return ""
    return f"{vector.name}: wanted {vector.statuses} {vector.bodies}, seen {answered} {bodies}"


def test_the_table_is_large_and_no_name_stands_twice() -> None:
    names = [entry.name for table in (HEADS, FRAMINGS) for entry in table]
    assert len(set(names)) == len(names)
    assert len(names) + len(DOWNGRADES) + len(ANSWERS) >= AT_LEAST


@pytest.mark.parametrize("table", [HEADS, FRAMINGS], ids=["heads", "framings"])
def test_every_vector_is_refused_or_forwarded_as_one_reading(edge: Edge, table: tuple[Vector, ...]) -> None:
    complaints = [found for vector in table if (found := complaint(edge.address, edge.recorded, vector))]
    assert not complaints, "\n".join(complaints)
    assert not edge.recorded.unreadable


def test_the_query_of_an_empty_path_goes_on_behind_a_slash(edge: Edge) -> None:
    assert statuses(edge.address, get(target=b"http://a?/x=1")) == (200,)
    assert [reading.target for reading in edge.recorded.taken()] == ["/?/x=1"]


def test_a_server_that_takes_more_is_told_apart() -> None:
    with recording() as (address, recorded):
        complaints = [found for vector in HEADS if (found := complaint(address, recorded, vector))]
    assert any(found.startswith("bare-lf-everywhere") for found in complaints)


def test_what_is_forwarded_is_read_as_it_was_meant(edge: Edge) -> None:
    complaints = []
    for sent in mutated(SEED, MUTATED):
        answered = statuses(edge.address, sent)
        if found := disagreement(sent, answered, edge.recorded.taken()):
            complaints.append(f"{sent!r}: {found}")
    assert not complaints, "\n".join(complaints)
    assert not edge.recorded.unreadable


def test_another_reading_is_seen() -> None:
    longer, shorter = (post(b"Content-Length: %d" % length, body=b"hello") for length in (5, 4))
    assert not disagreement(longer, [200], read(longer).readings)
    assert "to h11" in disagreement(longer, [200], read(shorter).readings)
    assert "no request 2" in disagreement(get(), [200, 200], read(get() + get()).readings)
    assert "answered" in disagreement(get() + get(), [200], read(get() + get()).readings)


def test_no_request_of_http_2_becomes_another(edge: Edge) -> None:
    complaints = []
    for downgrade in DOWNGRADES:
        status = ask(edge.address, downgrade)
        bodies = [reading.body for reading in edge.recorded.taken()]
        wanted = [downgrade.body] if downgrade.is_taken else []
        if bodies != wanted or (status == 200) != downgrade.is_taken:
            complaints.append(f"{downgrade.name}: {status} {bodies}")
    assert not complaints, "\n".join(complaints)
    assert not edge.recorded.unreadable


def test_a_client_of_http_2_that_says_such_things_really_says_them() -> None:
    hidden = Downgrade("", (*DOWNGRADES[0].head, ("x", "a\r\nb")))
    with scripted.ScriptedServer(lambda connection: connection, lambda _: None) as nobody:
        assert ask(nobody.address, hidden) == 0


@pytest.fixture(scope="module")
def endpoint(running: Running) -> Iterator[str]:
    """The gateway before an endpoint that says to `/7` what stands seventh."""

    def script(peer: http1.Http1) -> None:
        while True:
            request = peer.take()
            if request.path == "/plain":
                peer.give(Answer(200, sized(PLAIN), PLAIN))
                continue
            peer.send(ANSWERS[int(request.path[1:])].said)
            return

    with http1.scripted_server(script) as server:
        service = running.service(server.address, outlier_detection={"enabled": False}, retry={"attempts": 1})
        yield service
        running.remove(service)


def two(address: str, host: str, number: int) -> bytes:
    """All that a client reads who asks for an odd answer and, on the same connection, for a plain one."""
    data = b""
    with closing(scripted.connect(address)) as connection, suppress(ConnectionError):
        for path in (f"/{number}", "/plain"):
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        connection.shutdown(socket.SHUT_WR)
        while more := connection.recv(65536):
            data += more
    return data


def wrong(said: Said, data: bytes) -> str:
    """What is wrong with what a client read; "" nothing."""
    status, body, rest = read_answer(data)
    if status != said.status or (status == 200 and body != said.body):
        return f"{said.name}: wanted {said.status} {said.body!r}, read {status} {body!r} in {data!r}"
    # The endpoint has gone after its odd answer: the second one is another connection's, or says so.
    if status and (read_answer(rest)[0], read_answer(rest)[2]) not in ((200, b""), (502, b"")):
        return f"{said.name}: behind it stands {rest!r}"
    if b"injected" in rest or b"X-Injected" in data[: len(data) - len(rest)].replace(body, b""):
        return f"{said.name}: injected into {data!r}"
    return ""


def test_an_endpoint_gives_one_answer_or_none(running: Running, endpoint: str) -> None:
    address = running.edge.edge
    complaints = [
        found for number, said in enumerate(ANSWERS) if (found := wrong(said, two(address, endpoint, number)))
    ]
    assert not complaints, "\n".join(complaints)


def test_an_answer_that_was_split_is_seen() -> None:
    said = next(said for said in ANSWERS if said.name == "an-answer-behind-the-answer")
    assert "behind it stands" in wrong(said, said.said + said.said)
