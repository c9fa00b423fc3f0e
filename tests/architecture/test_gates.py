"""Every gate is seen to fail: each test plants one fault in a small copy, and the gate's own command must find it.

A gate that cannot fail guards nothing. Each passes the copy first, so that it is the fault that fails it.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.architecture import rules
from tests.mesh import Proxy, ended

ROOT = Path(__file__).parents[2]
MODULE = [sys.executable, "-m"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small project with our configuration and nothing wrong in it."""
    for name in ("pyproject.toml", "clippy.toml", "rustfmt.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("errors", "telemetry", "identity", "app"):
        write(tmp_path / f"sidecar/{name}.py", f'"""The {name} part."""\n')
    write(tmp_path / "sidecar/__init__.py", '"""A mesh."""\n')
    write(tmp_path / "sidecar/wire/__init__.py", '"""The wire."""\n')
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def gate(tree: Path, *command: str, **environ: str) -> tuple[int, str]:
    """Exit code and output of a gate's command in `tree`."""
    done = subprocess.run(
        command,
        cwd=tree,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def seen(passed: tuple[int, str], failed: tuple[int, str], complaint: str) -> None:
    """Assert that a gate passed, then failed, and said why."""
    assert passed[0] == 0, passed[1]
    assert failed[0] != 0, failed[1]
    assert complaint in failed[1]


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("errors", "import sidecar.app\n", "sidecar.errors is not allowed to import sidecar.app"),
        ("telemetry", "from sidecar import identity\n", "sidecar.telemetry is not allowed to import sidecar.identity"),
        ("toolbox", "", "sidecar.toolbox"),
    ],
    ids=["upwards", "sideways", "a module without a layer"],
)
def test_python_layers(tree: Path, module: str, line: str, complaint: str) -> None:
    passed = gate(tree, "lint-imports", "--no-cache")
    write(tree / f"sidecar/{module}.py", line)
    seen(passed, gate(tree, "lint-imports", "--no-cache"), complaint)


@pytest.mark.parametrize(
    ("path", "line", "complaint"),
    [
        ("net.rs", "use crate::exchange::Exchange;", "uses crate::exchange, which stands above net"),
        (
            "pool/h2.rs",
            "use crate::{\n    clock::now,\n    balance::{Pick, X},\n};",
            "uses crate::balance, which stands beside",
        ),
        ("tls/peer.rs", "use super::super::pool;", "uses crate::pool, which stands above tls"),
        ("http/h1.rs", "fn f() -> pyo3::PyResult<()> { Ok(()) }", "names the crate pyo3"),
        ("exchange.rs", "use h2::RecvStream;", "names the crate h2"),
        ("toolbox.rs", "", "give these modules a layer"),
    ],
    ids=[
        "upwards",
        "sideways in a group",
        "upwards by super",
        "a foreign crate",
        "a protocol in the story",
        "no layer",
    ],
)
def test_rust_layers(tree: Path, path: str, line: str, complaint: str) -> None:
    crate = tree / "dataplane"
    write(crate / "src/error.rs", "use crate::clock::now; // crate::exchange stands above\n")
    rustc = ["rustc", "--edition", "2024", "--test", str(ROOT / "dataplane/tests/layers.rs"), "-o", "layers"]
    built = gate(tree, *rustc, CARGO_MANIFEST_DIR=str(crate))
    assert built[0] == 0, built[1]
    passed = gate(tree, "./layers")
    write(crate / "src" / path, line)
    seen(passed, gate(tree, "./layers"), complaint)


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("pub fn now() -> std::time::Instant { std::time::Instant::now() }", "a paused clock must stop it"),
        ("pub struct Held(pub std::sync::Mutex<u8>);", "a worker that waits for a lock"),
        ("pub fn read(at: *const u8) -> u8 { unsafe { *at } }", "usage of an `unsafe` block"),
        ("pub fn first(all: &[u8]) -> u8 { *all.first().unwrap() }", "used `unwrap()`"),
    ],
    ids=["a clock of its own", "a lock", "unsafe", "unwrap"],
)
def test_clippy(tree: Path, fault: str, complaint: str) -> None:
    manifest = (ROOT / "dataplane/Cargo.toml").read_text()
    lints = manifest[manifest.index("[lints.rust]") :]
    write(tree / "Cargo.toml", f'[package]\nname = "planted"\nedition = "2024"\n\n{lints}')
    write(tree / "src/lib.rs", "//! A crate.\n")
    clippy = ["cargo", "clippy", "--offline", "--quiet", "--", "-D", "warnings"]
    passed = gate(tree, *clippy, CARGO_TARGET_DIR=str(tree / "target"))
    write(tree / "src/lib.rs", f'//! A crate.\n#![allow(missing_docs, reason = "planted")]\n{fault}\n')
    seen(passed, gate(tree, *clippy, CARGO_TARGET_DIR=str(tree / "target")), complaint)


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ('license = "GPL-3.0-only"', "failed to satisfy license requirements"),
        ('license = "MIT"\n[dependencies]\nring = { path = "ring", version = "1" }', "banned"),
    ],
    ids=["a licence that binds", "a second library of cryptography"],
)
def test_what_we_take_from_others(tree: Path, fault: str, complaint: str) -> None:
    shutil.copy(ROOT / "deny.toml", tree)
    package = '[package]\nname = "{}"\nversion = "1.0.0"\nedition = "2024"\n{}\n'
    for folder in (tree, tree / "ring"):
        write(folder / "src/lib.rs", "")
    write(tree / "ring/Cargo.toml", package.format("ring", 'license = "MIT"'))
    deny = ["cargo", "deny", "--offline", "check", "licenses", "bans", "sources"]
    write(tree / "Cargo.toml", package.format("planted", 'license = "MIT"'))
    passed = gate(tree, *deny)
    write(tree / "Cargo.toml", package.format("planted", fault))
    seen(passed, gate(tree, *deny), complaint)


@pytest.mark.parametrize(
    ("command", "name", "fault", "complaint"),
    [
        (["ruff", "check"], "app.py", '__all__ = ["b", "a"]\na = b = 1\n', "RUF022"),
        (["ruff", "check"], "app.py", "import os  # noqa\n", "PGH004"),
        (["ruff", "format", "--check"], "app.py", "x = {  'a':1 }\n", "would be reformatted"),
        (["mypy", "sidecar"], "app.py", "def port() -> int:\n    return '8080'\n", "Incompatible return value type"),
        (["mypy", "sidecar"], "app.py", "def port(text):\n    return int(text)\n", "missing a type annotation"),
        (["rustfmt", "--check", "sidecar/lib.rs"], "lib.rs", "fn f( ) {}\n", "Diff in"),
    ],
    ids=["unsorted export", "blanket exemption", "python format", "wrong type", "no type", "rust format"],
)
def test_formats_lints_and_types(tree: Path, command: list[str], name: str, fault: str, complaint: str) -> None:
    write(tree / "sidecar/lib.rs", "fn f() {}\n")
    passed = gate(tree, *command)
    write(tree / "sidecar" / name, fault)
    seen(passed, gate(tree, *command), complaint)


def test_stub(tree: Path) -> None:
    for name in ("_dataplane.pyi", "_dataplane.abi3.so"):
        shutil.copy(ROOT / "sidecar" / name, tree / "sidecar")
    stubtest = [*MODULE, "mypy.stubtest", "sidecar._dataplane"]
    passed = gate(tree, *stubtest, PYTHONPATH=str(tree))
    stub = tree / "sidecar/_dataplane.pyi"
    stub.write_text(
        stub.read_text().replace("def apply(self, snapshot: bytes)", "def apply(self, world: bytes, at: int)")
    )
    seen(passed, gate(tree, *stubtest, PYTHONPATH=str(tree)), "sidecar._dataplane.DataPlane.apply")


@pytest.mark.parametrize(
    ("expected", "body", "complaint"),
    [
        ("", "pytest.skip('no server here')", "test_it.py::test_it skipped, and"),
        ("test_it.py::test_it  # no server", "pass", "did not skip: delete the line"),
        ("", "import warnings; warnings.warn('old', stacklevel=1)", "UserWarning: old"),
    ],
    ids=["an unexpected skip", "an expected skip that runs", "a warning"],
)
def test_pytest(tree: Path, expected: str, body: str, complaint: str) -> None:
    write(tree / "expected_skips.txt", "test_it.py::test_it  # no server\n" if "skip" in body else "")
    write(
        tree / "conftest.py",
        "from pathlib import Path\n"
        "from tests.skips import SkipGate, read_expected\n"
        "def pytest_configure(config):\n"
        "    gate = SkipGate(read_expected(Path('expected_skips.txt')))\n"
        "    config.pluginmanager.register(gate, 'skip-gate')\n",
    )
    test = "import pytest\ndef test_it() -> None:\n    {}\n"
    run = [*MODULE, "pytest", "--quiet", "-p", "no:cacheprovider", "test_it.py"]
    write(tree / "test_it.py", test.format(body if "skip" in body else "pass"))
    passed = gate(tree, *run, PYTHONPATH=str(ROOT))
    write(tree / "test_it.py", test.format(body))
    write(tree / "expected_skips.txt", f"{expected}\n")
    seen(passed, gate(tree, *run, PYTHONPATH=str(ROOT)), complaint)


@pytest.mark.parametrize(
    ("fails", "complaint"),
    [("True", "1 failed, 2 rerun"), ("len(calls) == 1 and number >= 0", "1 failed, 6 passed, 6 rerun")],
    ids=["a fault that stays", "too many that come and go"],
)
def test_tries(tree: Path, fails: str, complaint: str) -> None:
    """What `make real` forgives: a test that fails once. It shows the try, and fails for all else."""
    makefile = (ROOT / "Makefile").read_text().splitlines()
    (again,) = (line.partition(":=")[2].split() for line in makefile if line.startswith("again :="))
    count = 7 if "number" in fails else 1
    test = (
        "import pytest\n"
        "tried = [[] for _ in range({count})]\n"
        "@pytest.mark.parametrize('number', range({count}))\n"
        "def test_it(number: int) -> None:\n"
        "    calls = tried[number]\n"
        "    calls.append(1)\n"
        "    assert not ({fails}), 'the first try'\n"
    )
    run = [*MODULE, "pytest", "--quiet", "-p", "no:cacheprovider", *again, "--reruns-delay", "0", "test_it.py"]
    write(tree / "test_it.py", test.format(count=1, fails="len(calls) == 1"))
    passed = gate(tree, *run)
    assert "the first try" in passed[1]
    assert "1 passed, 1 rerun" in passed[1]
    write(tree / "test_it.py", test.format(count=count, fails=fails))
    seen(passed, gate(tree, *run), complaint)


@pytest.mark.parametrize(
    ("planted", "complaint"),
    [
        ({"sidecar/app.py": "x = 1\n" * 501}, "more than 500"),
        ({"dataplane/src/exchange.rs": "// x\n" * 301}, "more than 300"),
        ({"sidecar/helpers.py": ""}, "a name that says nothing"),
        ({"tests/common/test_a.py": ""}, "a name that says nothing"),
        ({"sidecar/app.py": "def f():\n    from sidecar import _dataplane\n"}, "only sidecar/dataplane.py may"),
        ({"sidecar/wire/__init__.py": "from sidecar.wire.code import Bad\n"}, "Bad is handed out"),
        ({"sidecar/app.py": '__all__ = ["Gone"]\n'}, "Gone, which is not there"),
        ({"ARCHITECTURE.md": "See [the story](dataplane/src/gone.rs#L1).\n"}, "links to dataplane/src/gone.rs"),
    ],
)
def test_rules_of_shape(tree: Path, planted: Mapping[str, str], complaint: str) -> None:
    def complaints() -> str:
        checks = (
            rules.size_complaints,
            rules.name_complaints,
            rules.seam_complaints,
            rules.export_complaints,
            rules.link_complaints,
        )
        return "\n".join(line for check in checks for line in check(tree))

    assert complaints() == ""
    for name, text in planted.items():
        write(tree / name, text)
    assert complaint in complaints()


def test_wire_drift(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    shutil.copytree(ROOT / "protos", tree / "protos")
    shutil.copytree(ROOT / "sidecar/wire", tree / "sidecar/wire", dirs_exist_ok=True)
    assert rules.wire_complaints(tree, tmp_path_factory.mktemp("before")) == []
    proto = tree / "protos/sidecar/wire/control.proto"
    proto.write_text(proto.read_text().replace("uint32 workers = 1;", "uint32 threads = 1;"))
    changed = rules.wire_complaints(tree, tmp_path_factory.mktemp("after"))
    assert [line.split(" ")[0] for line in changed] == ["sidecar/wire/control_pb2.py", "sidecar/wire/control_pb2.pyi"]


@pytest.mark.parametrize(
    ("tools", "complaint"),
    [
        (["cargo", "cc"], "missing: Python 3.11 or newer"),
        (["python3", "cc"], "missing: Rust (cargo 1.95 or newer)"),
        (["python3", "cargo"], "missing: a C compiler"),
    ],
)
def test_a_missing_prerequisite_is_named_with_how_to_get_it(tree: Path, tools: list[str], complaint: str) -> None:
    """Only `tools` are on PATH, beside the shell's own."""
    standing = {"python3": f'exec {sys.executable} "$@"', "cargo": "echo cargo 1.95.0", "cc": "true"}

    def path(names: list[str]) -> str:
        folder = tree / "-".join(names)
        for name in names:
            write(folder / name, f"#!/bin/sh\n{standing[name]}\n").chmod(0o755)
        for name in ("bash", "env", "sed", "sh"):
            (folder / name).symlink_to(str(shutil.which(name)))
        return str(folder)

    check = str(ROOT / "requirements/prerequisites")
    passed = gate(tree, check, PATH=path(["python3", "cargo", "cc"]))
    failed = gate(tree, check, PATH=path(tools))
    seen(passed, failed, complaint)
    assert "get it:" in failed[1]


def test_a_proxy_that_panicked_fails_its_mesh_even_when_it_has_ended_before(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    assert process.wait() == 0
    proxy = Proxy("web", process, write(tmp_path / "web.log", "ready\n"))
    assert ended(proxy) == ""
    write(proxy.log, "thread 'worker-0' panicked at dataplane/src/accept.rs:1:1:\n")
    assert "web panicked" in ended(proxy)
