"""A running sidecar holds in memory only what it uses."""

import subprocess
import sys

# Each of these would cost megabytes or tenths of a second.
UNUSED = {"grpc", "opentelemetry", "rich", "requests", "cryptography", "jinja2"}


def modules(program: str) -> set[str]:
    """All that are loaded after `program`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def loaded(program: str) -> set[str]:
    """Top-level modules after `program`."""
    return {name.partition(".")[0] for name in modules(program)}


def test_a_running_sidecar_loads_no_library_that_it_does_not_use() -> None:
    assert loaded("import sidecar.cli, sidecar.app") & UNUSED == set()


def test_a_running_sidecar_loads_of_aiohttp_no_applications() -> None:
    found = modules("import sidecar.app, sidecar.admin.server")

    assert "aiohttp.web_server" in found
    assert not {"aiohttp.web", "aiohttp.web_app"} & found


def test_help_and_version_wait_for_none_of_what_runs() -> None:
    unused = {"aiohttp", "pydantic", "ruamel", "google", "watchfiles"}
    assert loaded("from sidecar.cli.command import program; program()") & unused == set()


def test_a_verb_waits_for_no_other_verb() -> None:
    verbs = modules("from sidecar.cli.command import program; program('run')")

    assert "sidecar.cli.run" in verbs
    assert not {f"sidecar.cli.{verb}" for verb in ("gateway", "config", "status", "ca", "version")} & verbs
