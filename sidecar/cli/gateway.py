"""`sidecar gateway`: the edge of the mesh."""

from typing import Annotated

import typer

from sidecar.cli import arguments

HELP = """
Run a gateway at the edge of the mesh.

Examples:

\b
  # the gateway of Consul's key sidecar/gateways/edge
  sidecar gateway --name edge
\b
  # the gateway of ./mesh/gateways/edge.yaml, without Consul
  sidecar gateway --name edge --config ./mesh
\b
  # on a host that already runs a sidecar
  sidecar gateway --name edge --admin-port 0
\b
  # behind a balancer that asks `health_path` every 2 s, and gives up after the second 503
  sidecar gateway --name edge --drain-delay 10s
\b
  # lines in a file, which logrotate moves away before it sends SIGUSR1
  sidecar gateway --name edge --access-log /var/log/sidecar/edge.log

Its listeners, certificates and routes are in its document; its name is its service in the mesh.
"""


def gateway(
    name: Annotated[str, typer.Option(metavar="NAME", help="The gateway's document and its service in the mesh.")],
    config: arguments.Config = None,
    admin_port: arguments.AdminPort = 19000,
    state_dir: arguments.StateDir = None,
    identity: arguments.Identity = "",
    grace: arguments.Grace = "30s",
    drain_delay: arguments.DrainDelay = "0s",
    access_log: arguments.AccessLog = None,
    memory_limit: arguments.MemoryLimit = "",
    log_level: arguments.LogLevel = "info",
    consul_addr: arguments.ConsulAddress = "",
    consul_token_file: arguments.ConsulTokenFile = "",
    instance_id: arguments.Id = "",
    advertise: arguments.Advertise = "",
    meta: arguments.Meta = None,
    tag: arguments.Tags = None,
) -> None:
    """Check the arguments and run."""
    announcement = arguments.announcement(config, instance_id, advertise, meta, tag)
    arguments.log_to_stderr(log_level)

    from sidecar.snapshot import GatewayRole

    arguments.start(
        GatewayRole(name),
        config,
        admin_port,
        state_dir,
        arguments.seconds(grace, "--grace"),
        announcement,
        consul_addr,
        consul_token_file,
        identity,
        access_log,
        memory_limit,
        drain_delay=arguments.seconds(drain_delay, "--drain-delay"),
    )
