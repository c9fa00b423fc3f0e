"""`sidecar run`: the sidecar of one service."""

from typing import Annotated

import typer

from sidecar.cli import arguments

HELP = """
Run the sidecar of one service.

Examples:

\b
  # beside an application that listens on 8080; registers both with Consul's agent on this host
  sidecar run --service orders --port 8080
\b
  # start the application too, once the mesh is ready; end with it and with its exit code
  sidecar run --service orders --port 8080 -- python app.py
\b
  # for a service that somebody else registered, with a proxy, under the id orders-1
  sidecar run --sidecar-for orders-1
\b
  # without Consul: all from a directory of documents
  sidecar run --service orders --port 8080 --config ./mesh
\b
  # a second instance on the same host, on free ports
  sidecar run --service orders --port 8081 --inbound-port 0 --outbound-port 0 --admin-port 0

The mesh reaches the application through the inbound port, by mTLS; the application reaches the mesh through the
outbound port, by plain HTTP to names like http://inventory.mesh.
"""


def run(
    service: Annotated[
        str | None,
        typer.Option(metavar="NAME", show_default=False, help="The service that the application is an instance of."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, metavar="PORT", show_default=False, help="Port that the application listens on."
        ),
    ] = None,
    sidecar_for: Annotated[
        str,
        typer.Option(
            "--sidecar-for",
            metavar="ID",
            show_default=False,
            help="Consul's id of a service whose proxy is registered, which says the rest.",
        ),
    ] = "",
    config: arguments.Config = None,
    app_address: Annotated[
        str, typer.Option(metavar="IP", help="Address that the application listens on.")
    ] = "127.0.0.1",
    inbound_address: Annotated[str, typer.Option(metavar="IP", help="Address that the mesh connects to.")] = "0.0.0.0",  # noqa: S104 - other hosts connect to it, and it demands a client certificate
    inbound_port: Annotated[
        int, typer.Option(**arguments.PORT, help="Port that the mesh connects to; 0 takes a free one.")
    ] = 21000,
    outbound_port: Annotated[
        int, typer.Option(**arguments.PORT, help="Port on 127.0.0.1 for the application's calls; 0 takes a free one.")
    ] = 15001,
    admin_port: arguments.AdminPort = 19000,
    state_dir: arguments.StateDir = None,
    identity: arguments.Identity = "",
    grace: arguments.Grace = "30s",
    access_log: arguments.AccessLog = None,
    memory_limit: arguments.MemoryLimit = "",
    log_level: arguments.LogLevel = "info",
    consul_addr: arguments.ConsulAddress = "",
    consul_token_file: arguments.ConsulTokenFile = "",
    instance_id: arguments.Id = "",
    advertise: arguments.Advertise = "",
    meta: arguments.Meta = None,
    tag: arguments.Tags = None,
    check: Annotated[
        str,
        typer.Option(
            metavar="CHECK",
            show_default="tcp",
            help="How the application's health is asked: tcp, a path such as /healthz, grpc, grpc/SERVICE, or none.",
        ),
    ] = "",
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="The application to start, after `--`.", show_default=False),
    ] = None,
) -> None:
    """Check the arguments and run."""
    announcement = arguments.announcement(config, instance_id, advertise, meta, tag, check)
    outbound = arguments.endpoint("127.0.0.1", outbound_port, "--outbound-port")
    arguments.log_to_stderr(log_level)

    from sidecar.engine import SidecarFor
    from sidecar.snapshot import SidecarRole

    role: SidecarRole | SidecarFor
    if sidecar_for:
        if service or port:
            raise typer.BadParameter("the registration says what --service and --port say", param_hint="--sidecar-for")
        if config is not None:
            raise typer.BadParameter("only Consul has registrations, so not with --config", param_hint="--sidecar-for")
        role = SidecarFor(sidecar_for, outbound)
    else:
        if not service or not port:
            missing = "--port" if service else "--service"
            raise typer.BadParameter("give --service NAME and --port PORT, or --sidecar-for ID", param_hint=missing)
        role = SidecarRole(
            service=service,
            app_address=arguments.endpoint(app_address, port, "--app-address"),
            inbound=arguments.endpoint(inbound_address, inbound_port, "--inbound-address"),
            outbound=outbound,
        )
    arguments.start(
        role,
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
        command or (),
    )
