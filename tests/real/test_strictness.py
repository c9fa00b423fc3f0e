"""What ours forwards is the same requests to every server behind it; and what other proxies forward, beside it.

The vectors are those of `tests/e2e/strictness`. The long form writes the table `strictness/results.md`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.prerequisites import check, versions
from tests.e2e.strictness.downgrades import DOWNGRADES
from tests.e2e.strictness.framing import FRAMINGS
from tests.e2e.strictness.mutated import disagreement, mutated
from tests.e2e.strictness.origin import Recorded, ask, recording, statuses
from tests.e2e.strictness.requests import HEADS
from tests.e2e.strictness.vector import Vector, post
from tests.mesh import LOOPBACK, Mesh
from tests.real.strictness import report
from tests.real.strictness.servers import asked_of_all, disagreements, origins, proxies, told_in_time

pytestmark = pytest.mark.real

VECTORS = (*HEADS, *FRAMINGS)
SEED, SHORTLY, LONG = 20, 300, 10_000
# Requests on one connection to an origin: a wrong end anywhere is one anywhere.
TOGETHER = 20
# Seconds for a proxy to take back what it has begun, so that it is not counted with what comes next.
SETTLED = 0.02
RESULTS = Path(__file__).with_name("strictness") / "results.md"


@pytest.fixture(scope="module")
def application() -> Iterator[tuple[str, Recorded]]:
    with recording() as recording_application:
        yield recording_application


@pytest.fixture(scope="module")
def edge(application: tuple[str, Recorded], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Mesh(tmp_path_factory.mktemp("strictness")) as mesh:
        mesh.document(
            "services/web",
            tls="disabled",
            outlier_detection={"enabled": False},
            endpoints=[{"address": application[0]}],
        )
        mesh.document("gateways/edge", listeners=[LOOPBACK], routes=[{"name": "all", "to": {"service": "web"}}])
        yield mesh.gateway("edge").edge


def forwarded(edge: str, recorded: Recorded, changed: int) -> Iterator[bytes]:
    """The bytes of each request that ours forwards: of all vectors, and of so many changed ones."""
    for vector in VECTORS:
        statuses(edge, vector.sent)
        yield from (reading.raw for reading in recorded.taken())
    for downgrade in DOWNGRADES:
        ask(edge, downgrade)
        yield from (reading.raw for reading in recorded.taken())
    for sent in mutated(SEED, changed):
        answered = statuses(edge, sent)
        readings = recorded.taken()
        assert not disagreement(sent, answered, readings), sent
        yield from (reading.raw for reading in readings)


def misread(addresses: dict[str, str], requests: Sequence[bytes]) -> list[str]:
    """Those of them that not all origins read as one request each."""
    complaints, asked = [], [like for request in requests if (like := asked_of_all(request))]
    for begin in range(0, len(asked), TOGETHER):
        some = asked[begin : begin + TOGETHER]
        if disagreements(addresses, some):
            complaints += [f"{one!r}: {found}" for one in some if (found := disagreements(addresses, [one]))]
    return complaints


def test_other_servers_read_the_same_requests(edge: str, application: tuple[str, Recorded], tmp_path: Path) -> None:
    requests = list(forwarded(edge, application[1], SHORTLY))
    assert len(requests) > 100
    with origins(tmp_path) as addresses:
        assert not misread(dict(addresses), requests)
    assert not application[1].unreadable


def test_servers_that_read_otherwise_are_told(tmp_path: Path) -> None:
    two_ways = post(b"Content-Length: 6", b"Transfer-Encoding: chunked", body=b"0\r\n\r\nX")
    with origins(tmp_path) as addresses:
        assert misread(dict(addresses), [post(b"Content-Length: 0"), two_ways])


@pytest.mark.long
@pytest.mark.timeout(600)
def test_ten_thousand_changed_requests(edge: str, application: tuple[str, Recorded], tmp_path: Path) -> None:
    requests = list(forwarded(edge, application[1], LONG))
    with origins(tmp_path, "nginx", "apache2") as addresses:
        assert not misread(dict(addresses), requests)
    assert not application[1].unreadable


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_messages_beside_other_proxies(
    edge: str, application: tuple[str, Recorded], tmp_path: Path, note: Callable[[str], None]
) -> None:
    check()
    address, recorded = application
    with proxies(address, tmp_path) as others, origins(tmp_path, "nginx", "apache2") as addresses:

        def outcome(proxy: str, vector: Vector, send: Callable[[str, bytes], Sequence[int]]) -> report.Outcome:
            answers = send(proxy, vector.sent)
            time.sleep(SETTLED)
            readings, unreadable = recorded.taken(), recorded.unreadable
            recorded.unreadable = []
            asked = [like for reading in readings if (like := asked_of_all(reading.raw))] + unreadable
            wrong = disagreements(addresses, asked) if asked else []
            return report.Outcome(answers, len(readings) + len(unreadable), [*wrong, *(["h11"] if unreadable else [])])

        table = {
            "sidecar": {vector: outcome(edge, vector, statuses) for vector in VECTORS},
            **{
                name: {vector: outcome(proxy, vector, told_in_time) for vector in VECTORS}
                for name, proxy in others.items()
            },
        }
        RESULTS.write_text(report.markdown(table, versions(), ["h11", *addresses]))
    note(f"the table is in {RESULTS}")
    ours = table["sidecar"]
    assert not [vector.name for vector, seen in ours.items() if seen.goes_beyond(vector) or seen.disagreeing]
    # Negative control: of each of the others something is told.
    assert all(any(seen.disagreeing for seen in table[name].values()) for name in others)
