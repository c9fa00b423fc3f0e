"""The application beside us: signals reach it once, and its exit code is ours."""

import asyncio
import resource
import signal
import sys
from unittest.mock import patch

import pytest

from sidecar import descriptors
from sidecar.child import Child
from sidecar.errors import SidecarError


async def test_its_exit_code_is_told() -> None:
    child = await Child.start([sys.executable, "-c", "raise SystemExit(7)"])

    assert await child.wait() == 7


async def test_an_end_by_signal_is_told_as_shells_do() -> None:
    child = await Child.start(["sleep", "60"])
    child.send(signal.SIGTERM)

    assert await child.wait() == 128 + signal.SIGTERM


async def test_it_is_killed_with_all_it_started() -> None:
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", "sleep 60 & echo $!; wait", stdout=asyncio.subprocess.PIPE, process_group=0
    )
    assert process.stdout is not None
    await process.stdout.readline()
    child = Child(process)
    child.kill()

    assert await child.wait() == 128 + signal.SIGKILL
    # The pipe ends when the last process that holds it does.
    assert await asyncio.wait_for(process.stdout.read(), 5) == b""


async def test_signals_to_one_that_ended_do_nothing() -> None:
    child = await Child.start(["true"])
    await child.wait()

    child.send(signal.SIGTERM)
    child.kill()

    assert await child.wait() == 0


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(SidecarError, match="application 'no-such-program' cannot be started: No such file"):
        await Child.start(["no-such-program"])


async def test_a_program_has_the_limit_of_open_files_that_we_were_given() -> None:
    given = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, given[1]))
    with patch.object(descriptors, "_GIVEN", 100):
        try:
            assert descriptors.raise_limit() > 100
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (given[1], given[1])
            child = await Child.start(["sh", "-c", "test $(ulimit -Sn) = 100"])
            assert await child.wait() == 0
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (given[1], given[1])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, given)
