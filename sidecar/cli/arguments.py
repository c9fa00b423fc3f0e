"""The arguments that `run` and `gateway` share, and how they are checked."""

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sidecar.engine import Announcement, SidecarFor
    from sidecar.snapshot import Role

PORT = {"min": 0, "max": 65535, "metavar": "PORT"}

Config = Annotated[
    Path | None,
    typer.Option(
        envvar="SIDECAR_CONFIG",
        metavar="DIR",
        show_default=False,
        help="Directory with the documents: mesh.yaml, services/NAME.yaml, gateways/NAME.yaml, consumers/NAME.yaml. "
        "Without it all comes from Consul.",
    ),
]
ConsulAddress = Annotated[
    str,
    typer.Option(
        "--consul-addr",
        metavar="ADDRESS",
        show_default="$CONSUL_HTTP_ADDR, else 127.0.0.1:8500",
        help="Consul's agent: 127.0.0.1:8500, https://host:8501 or unix:///path.",
    ),
]
ConsulTokenFile = Annotated[
    str,
    typer.Option(
        "--consul-token-file",
        metavar="FILE",
        show_default="$CONSUL_HTTP_TOKEN_FILE, else $CONSUL_HTTP_TOKEN",
        help="File with the token for Consul; read again when it changes.",
    ),
]
Id = Annotated[
    str,
    typer.Option(
        "--id", metavar="ID", show_default="NAME-PORT", help="Consul's id for this instance, one on its agent."
    ),
]
Advertise = Annotated[
    str,
    typer.Option(
        "--advertise",
        metavar="IP",
        show_default="the agent's, or ours towards a remote agent",
        help="Address by which others reach this host, for Consul.",
    ),
]
Meta = Annotated[
    list[str] | None,
    typer.Option(
        "--meta", metavar="KEY=VALUE", show_default=False, help="For Consul and `where`: version=2. Repeatable."
    ),
]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", metavar="TAG", show_default=False, help="For Consul. Repeatable.")
]
AdminPort = Annotated[int, typer.Option(**PORT, help="Port of the admin server on 127.0.0.1; 0 takes a free one.")]
StateDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        show_default="$SIDECAR_STATE_DIR, else $XDG_STATE_HOME/sidecar, else ~/.local/state/sidecar",
        help="Where the local CA keeps its key; one directory for all sidecars of a host.",
    ),
]
Identity = Annotated[
    str,
    typer.Option(
        "--identity",
        envvar="SIDECAR_IDENTITY",
        metavar="AUTHORITY",
        show_default="consul with Consul, local with --config",
        help="Who signs our certificate: consul, local, files:DIR (tls.crt, tls.key and ca.crt in there), or spire "
        "(the Workload API at $SPIFFE_ENDPOINT_SOCKET, or spire:ADDRESS).",
    ),
]
AccessLog = Annotated[
    Path | None,
    typer.Option(
        "--access-log",
        envvar="SIDECAR_ACCESS_LOG",
        metavar="FILE",
        show_default="standard output",
        help="File for the access log; SIGUSR1 begins a new one of its name after the old one was moved.",
    ),
]
MemoryLimit = Annotated[
    str,
    typer.Option(
        "--memory-limit",
        envvar="SIDECAR_MEMORY_LIMIT",
        metavar="SIZE",
        show_default="that of the control group, if it has one",
        help="Memory that may be taken, such as 256MiB: near it less is served, before the kernel ends the process.",
    ),
]
Grace = Annotated[
    str, typer.Option(metavar="DURATION", help="How long requests may take to end after a signal: 500ms, 30s, 2m.")
]
DrainDelay = Annotated[
    str,
    typer.Option(
        metavar="DURATION",
        help="How long after a signal connections are still taken, while health paths and /ready answer 503: longer "
        "than a balancer in front needs to notice.",
    ),
]
LogLevel = Annotated[str, typer.Option(metavar="LEVEL", help="debug, info, warning or error; goes to standard error.")]

LEVELS = ("debug", "info", "warning", "error")


def announcement(
    config: Path | None,
    instance_id: str,
    advertise: str,
    meta: list[str] | None,
    tags: list[str] | None,
    check: str = "",
) -> "Announcement":
    """How Consul is told of us; a directory of documents is told nothing."""
    from sidecar.engine import Announcement

    for flag, given in (
        ("--id", instance_id),
        ("--advertise", advertise),
        ("--meta", meta),
        ("--tag", tags),
        ("--check", check),
    ):
        if given and config is not None:
            raise typer.BadParameter("only Consul has registrations, so not with --config", param_hint=flag)
    pairs = {}
    for item in meta or ():
        key, separator, value = item.partition("=")
        if not separator or not key:
            raise typer.BadParameter(f"{item!r} is not KEY=VALUE", param_hint="--meta")
        pairs[key] = value
    if advertise:
        endpoint(advertise, 0, "--advertise")
    return Announcement(instance_id, advertise, pairs, tuple(tags or ()), check or "tcp")


def endpoint(address: str, port: int, flag: str) -> str:
    """ "127.0.0.1:8080", with brackets around IPv6."""
    try:
        parsed = ip_address(address.strip("[]"))
    except ValueError:
        raise typer.BadParameter(f"{address!r} is not an IP address", param_hint=flag) from None
    return f"[{parsed}]:{port}" if parsed.version == 6 else f"{parsed}:{port}"


def seconds(duration: str, flag: str) -> float:
    """ "30s" → 30.0"""
    from pydantic_core import PydanticCustomError

    from sidecar.config.model.base import parse_duration

    try:
        return parse_duration(duration).total_seconds()
    except PydanticCustomError as error:
        expected = (error.context or {}).get("expected", "")
        raise typer.BadParameter(f"{duration!r} is not a duration: expected {expected}", param_hint=flag) from None


def size(text: str, flag: str) -> int:
    """ "64KiB" → 65536"""
    from pydantic_core import PydanticCustomError

    from sidecar.config.model.base import parse_size

    try:
        return parse_size(text)
    except PydanticCustomError as error:
        expected = (error.context or {}).get("expected", "")
        raise typer.BadParameter(f"{text!r} is not a size: expected {expected}", param_hint=flag) from None


def log_to_stderr(level: str) -> None:
    """One line an entry: time in UTC, level, message."""
    if level not in LEVELS:
        raise typer.BadParameter(f"{level!r} is none of {', '.join(LEVELS)}", param_hint="--log-level")
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def state_directory(given: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """Where keys and what was last good are kept."""
    if given is not None:
        return given
    if chosen := environ.get("SIDECAR_STATE_DIR"):
        return Path(chosen)
    if state_home := environ.get("XDG_STATE_HOME"):
        return Path(state_home) / "sidecar"
    return Path.home() / ".local" / "state" / "sidecar"


def start(
    role: "Role | SidecarFor",
    config: Path | None,
    admin_port: int,
    state_dir: Path | None,
    grace: float,
    announcement: "Announcement",
    consul_address: str,
    consul_token_file: str,
    identity: str,
    access_log: Path | None,
    memory_limit: str,
    command: Sequence[str] = (),
    drain_delay: float = 0,
) -> None:
    """Run to the end in this process."""
    bytes_at_most = size(memory_limit, "--memory-limit") if memory_limit else None
    # Here, so that help, version and usage errors do not wait for what a running sidecar needs.
    import asyncio
    import gc

    from sidecar import roots

    # Until the start is over: nearly all that it makes stays, and looking for garbage is a tenth of its CPU time.
    gc.disable()
    with roots.unread():
        from sidecar import app, rundir
        from sidecar.identity import choice

    settings = app.Settings(
        role=role,
        config=config,
        admin_port=admin_port,
        state_directory=state_directory(state_dir),
        run_directory=rundir.default_directory(os.environ),
        grace=grace,
        drain_delay=drain_delay,
        command=tuple(command),
        environ=os.environ,
        announcement=announcement,
        consul_address=consul_address,
        consul_token_file=consul_token_file,
        access_log=access_log,
        memory_limit=bytes_at_most,
        identity=choice.parse(identity, os.environ, with_consul=config is None),
    )
    raise typer.Exit(asyncio.run(app.run(settings)))
