"""Two gateways behind HAProxy, which passes bytes on: one of them ends under load, and no request is lost."""

import csv
import io
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.mesh import LOOPBACK, Mesh, Proxy, eventually
from tests.peers import http1
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, CutOff, Ended, Request, sized
from tests.real.programs import debian, free_ports, serving

pytestmark = pytest.mark.real

# From where the clients come, to be told from the balancer at 127.0.0.1.
CLIENT = "127.0.0.5"
# Seconds. HAProxy asks five times a second, and a machine may stand still for two.
DELAY = "4s"

CONFIGURATION = """\
global
  stats socket {stats} level admin
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout check 10s
  retries 3
  option redispatch 1
frontend version1
  bind 127.0.0.1:{first}
  default_backend version1
frontend version2
  bind 127.0.0.1:{second}
  default_backend version2
backend version1
  option httpchk GET /healthz
  default-server check inter 200ms fall 1 rise 1 send-proxy
  server one {one}
  server two {two}
backend version2
  option httpchk GET /healthz
  default-server check inter 200ms fall 1 rise 1 send-proxy-v2 proxy-v2-options crc32c
  server one {one}
  server two {two}
"""


@dataclass
class Balanced:
    """HAProxy before two gateways; `addresses` are its ports, one for each version of the PROXY protocol."""

    one: Proxy
    two: Proxy
    addresses: list[str]
    stats: Path

    def states(self, server: str) -> set[str]:
        """What HAProxy thinks of a gateway, by both of its backends."""
        with closing(socket.socket(socket.AF_UNIX)) as asking:
            asking.connect(str(self.stats))
            asking.sendall(b"show stat\n")
            table = b"".join(iter(lambda: asking.recv(65536), b"")).decode()
        rows = csv.DictReader(io.StringIO(table.removeprefix("# ")))
        return {row["status"].split()[0] for row in rows if row["svname"] == server}


def telling(request: Request) -> Answer:
    body = request.fields["x-forwarded-for"].encode()
    return Answer(200, sized(body), body)


@pytest.fixture
def balanced(mesh: Mesh, tmp_path: Path) -> Iterator[Balanced]:
    listener = {**LOOPBACK, "proxy_protocol": {"trusted": ["127.0.0.1"]}, "health_path": "/healthz"}
    with http1.server(telling) as server:
        mesh.document("services/shop", tls="disabled", endpoints=[{"address": server.address}])
        mesh.document("gateways/edge", listeners=[listener], routes=[{"name": "all", "to": {"service": "shop"}}])
        one, two = (mesh.gateway("edge", "--drain-delay", DELAY) for _ in range(2))
        first, second = free_ports(2)
        stats = tmp_path / "stats"
        file = tmp_path / "haproxy.cfg"
        file.write_text(CONFIGURATION.format(stats=stats, first=first, second=second, one=one.edge, two=two.edge))
        with serving([debian("haproxy"), "-db", "-f", str(file)], second, tmp_path / "haproxy.log"):
            balanced = Balanced(one, two, [f"127.0.0.1:{port}" for port in (first, second)], stats)
            eventually("both are up", lambda: balanced.states("one") == balanced.states("two") == {"UP"}, within=20)
            yield balanced


def connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60, source_address=(CLIENT, 0))


@dataclass
class Load:
    """Clients that ask without a pause, over connections that they keep, or a new one each time."""

    address: str
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def keeping(self) -> None:
        client = Http1(connected(self.address))
        while not self.over.is_set():
            answer = client.ask(Request("GET", "/"))
            self.judge(answer)
            if answer.fields.get("connection") == "close":
                client.close()
                client = Http1(connected(self.address))
        client.close()

    def renewing(self) -> None:
        while not self.over.is_set():
            with Http1(connected(self.address)) as client:
                self.judge(client.ask(Request("GET", "/")))

    def streaming(self) -> None:
        client = Http2(connected(self.address), client=True)
        while not self.over.is_set():
            self.judge(client.ask(Request("GET", "/")))
            if client.goaways:
                client.close()
                client = Http2(connected(self.address), client=True)
        client.close()

    def judge(self, answer: Answer) -> None:
        self.answered += 1
        if (answer.status, answer.body) != (200, CLIENT.encode()):
            self.failures.append(repr(answer))

    def guarded(self, work: Callable[[], None]) -> None:
        """A request without an answer is one that is lost."""
        try:
            work()
        except (Ended, CutOff, OSError) as lost:
            self.failures.append(f"{work.__name__}: {lost!r}")

    @contextmanager
    def running(self) -> Iterator[None]:
        ways = (self.keeping, self.renewing, self.streaming)
        threads = [threading.Thread(target=self.guarded, args=(way,)) for way in ways]
        for thread in threads:
            thread.start()
        yield
        self.over.set()
        for thread in threads:
            thread.join()

    def goes_on(self) -> None:
        """Returns when many more have been answered, or one was lost."""
        wanted = self.answered + 100
        eventually("answers", lambda: self.answered >= wanted or self.failures, within=60)


def test_one_of_two_gateways_ends_under_load_without_a_lost_request(balanced: Balanced) -> None:
    loads = [Load(address) for address in balanced.addresses]
    with loads[0].running(), loads[1].running():
        for load in loads:
            load.goes_on()
        balanced.one.process.send_signal(signal.SIGTERM)
        eventually("HAProxy takes it out", lambda: balanced.states("one") == {"DOWN"}, within=20)
        for load in loads:
            load.goes_on()
        assert balanced.one.process.wait(60) == 0
        for load in loads:
            load.goes_on()
    assert [load.failures for load in loads] == [[], []]
    assert balanced.states("two") == {"UP"}
    assert "cut off" not in balanced.one.output()
