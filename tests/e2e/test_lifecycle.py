"""The start of a sidecar, and its end with the application; `tests/real/test_lifecycle.py` is the rest of its life."""

import json
import socket
import sys

import pytest

from tests.e2e.conftest import Running
from tests.mesh import Mesh


def test_a_ready_sidecar_tells_its_ports(running: Running) -> None:
    web = running.web

    assert json.loads(web.get("/ready")[1])["ready"] is True
    told = f"sidecar web is ready: inbound {web.inbound}, outbound {web.outbound}, admin {web.admin}"
    assert told in web.output()


def test_a_job_ends_with_its_application(mesh: Mesh) -> None:
    command = (sys.executable, "-c", "import time; print('the job ran', flush=True); time.sleep(0.5); exit(5)")
    job = mesh.sidecar("job", 1, "--", *command)

    assert job.process.wait(15) == 5
    assert "the job ran" in job.output()


def test_a_port_in_use_is_told_with_the_way_out(mesh: Mesh) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match=r"exited with 1") as refusal:
            mesh.sidecar("orders", 1, "--outbound-port", str(port))

    assert f"listener outbound cannot listen on 127.0.0.1:{port}: Address already in use" in str(refusal.value)
    assert "--outbound-port N (0 for a free one)" in str(refusal.value)
