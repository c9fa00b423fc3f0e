"""`sidecar config push`, `pull` and `diff` with a real Consul."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mesh import ROOT
from tests.real.consul_agent import Agent

pytestmark = pytest.mark.real


def sidecar(agent: Agent, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    told = {**os.environ, "PYTHONPATH": str(ROOT), "CONSUL_HTTP_ADDR": agent.address, **environ}
    command = [sys.executable, "-m", "sidecar", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=told, timeout=60)


def directory_of(tmp_path: Path, count: int, *, padding: int = 0) -> Path:
    directory = tmp_path / "mesh"
    (directory / "services").mkdir(parents=True)
    (directory / "mesh.yaml").write_text("timeout: 3s\n")
    for number in range(count):
        (directory / f"services/svc{number}.yaml").write_text(f"# {'x' * padding}\nprotocol: http\n")
    return directory


def test_a_directory_goes_to_consul_and_back(agent: Agent, tmp_path: Path) -> None:
    directory = directory_of(tmp_path, 200)
    pushed = sidecar(agent, "config", "push", str(directory))
    assert (pushed.returncode, pushed.stderr) == (0, "ok: 201 changed, 0 as they were\n")
    assert sidecar(agent, "config", "push", str(directory)).stderr == "ok: 0 changed, 201 as they were\n"
    assert sidecar(agent, "config", "diff", str(directory)).returncode == 0

    copy = tmp_path / "copy"
    assert sidecar(agent, "config", "pull", str(copy)).returncode == 0
    files = {file.relative_to(directory): file.read_bytes() for file in directory.rglob("*.yaml")}
    assert {file.relative_to(copy): file.read_bytes() for file in copy.rglob("*.yaml")} == files


def test_what_differs_is_shown_and_what_is_only_in_consul_is_kept_unless_pruned(agent: Agent, tmp_path: Path) -> None:
    directory = directory_of(tmp_path, 1)
    sidecar(agent, "config", "push", str(directory))
    agent.document("services/extra", protocol="http")
    (directory / "services/svc0.yaml").write_text("protocol: grpc\n")

    shown = sidecar(agent, "config", "diff", str(directory))
    assert shown.returncode == 3
    assert "update sidecar/services/svc0 (index " in shown.stdout
    assert "  +protocol: grpc" in shown.stdout
    assert "delete sidecar/services/extra" in shown.stdout

    kept = sidecar(agent, "config", "push", str(directory))
    assert "only in Consul: sidecar/services/extra" in kept.stderr
    assert agent.get("/v1/kv/sidecar/services/extra") is not None
    sidecar(agent, "config", "push", "--prune", str(directory))
    assert agent.get("/v1/kv/sidecar/services/extra") is None


def test_values_too_big_for_a_transaction_go_alone_and_too_big_for_consul_not_at_all(
    agent: Agent, tmp_path: Path
) -> None:
    directory = directory_of(tmp_path, 3, padding=450 * 1024)
    assert sidecar(agent, "config", "push", str(directory)).returncode == 0
    assert sidecar(agent, "config", "diff", str(directory)).returncode == 0

    (directory / "services/huge.yaml").write_text(f"# {'x' * 513 * 1024}\nprotocol: http\n")
    (directory / "mesh.yaml").write_text("timeout: 9s\n")
    refused = sidecar(agent, "config", "push", str(directory))
    assert refused.returncode == 78
    assert "services/huge.yaml: the document is too large" in refused.stderr
    assert sidecar(agent, "config", "pull", str(tmp_path / "copy")).returncode == 0
    assert (tmp_path / "copy/mesh.yaml").read_text() == "timeout: 3s\n"


def test_a_push_that_is_interrupted_says_how_far_it_came_and_goes_on_from_there(
    strict_agent: Agent, tmp_path: Path
) -> None:
    """The second of two batches needs a right that the token does not have yet."""
    services = tmp_path / "mesh/services"
    services.mkdir(parents=True)
    names = [*(f"a{number}" for number in range(150)), *(f"b{number}" for number in range(50))]
    for name in names:
        (services / f"{name}.yaml").write_text("protocol: http\n")
    some = 'key_prefix "sidecar/" { policy = "read" } key_prefix "sidecar/services/a" { policy = "write" }'
    strict_agent.put("/v1/acl/policy", {"Name": "some", "Rules": some})
    token = strict_agent.put("/v1/acl/token", {"Policies": [{"Name": "some"}]})["SecretID"]

    cut = sidecar(strict_agent, "config", "push", str(tmp_path / "mesh"), CONSUL_HTTP_TOKEN=token)
    assert cut.returncode == 1
    assert "128 of 200 changes are written: run the same command again to go on" in cut.stderr
    assert cut.stdout.count("create sidecar/services/") == 128

    rest = sidecar(strict_agent, "config", "push", str(tmp_path / "mesh"), CONSUL_HTTP_TOKEN="root")
    assert (rest.returncode, rest.stderr) == (0, "ok: 72 changed, 128 as they were\n")
    assert len(strict_agent.get("/v1/kv/sidecar/services/?keys")) == 200


def test_pull_does_not_replace_a_file_that_differs_unless_told_to(agent: Agent, tmp_path: Path) -> None:
    directory = directory_of(tmp_path, 1)
    sidecar(agent, "config", "push", str(directory))
    (directory / "mesh.yaml").write_text("timeout: 9s\n")

    refused = sidecar(agent, "config", "pull", str(directory))
    assert refused.returncode == 78
    assert f"{directory}/mesh.yaml" in refused.stderr
    assert (directory / "mesh.yaml").read_text() == "timeout: 9s\n"
    assert sidecar(agent, "config", "pull", "--overwrite", str(directory)).returncode == 0
    assert (directory / "mesh.yaml").read_text() == "timeout: 3s\n"


def test_a_token_without_rights_is_told_what_it_needs(strict_agent: Agent, tmp_path: Path) -> None:
    strict_agent.put("/v1/acl/policy", {"Name": "reader", "Rules": 'key_prefix "sidecar/" { policy = "read" }'})
    token = strict_agent.put("/v1/acl/token", {"Policies": [{"Name": "reader"}]})["SecretID"]
    directory = directory_of(tmp_path, 1)

    refused = sidecar(strict_agent, "config", "push", str(directory), CONSUL_HTTP_TOKEN=token)
    assert refused.returncode == 1
    assert 'key_prefix "sidecar/" { policy = "write" }' in refused.stderr
    assert "0 of 2 changes are written" in refused.stderr
    assert token not in refused.stderr

    unknown = sidecar(strict_agent, "config", "diff", str(directory), CONSUL_HTTP_TOKEN="0" * 8)
    assert "the token is unknown or was revoked" in unknown.stderr
