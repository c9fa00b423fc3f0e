"""`sidecar run`: the sidecar of one service."""

from typing import Annotated

import typer

from sidecar.cli import arguments

HELP = """
Run the sidecar of one service.

Examples:

\b
  # beside an application that listens on 8080
  sidecar run --service orders --port 8080 --config ./mesh
\b
  # start the application too, once the mesh is ready; end with it and with its exit code
  sidecar run --service orders --port 8080 --config ./mesh -- python app.py
\b
  # a second instance on the same host, on free ports
  sidecar run --service orders --port 8081 --inbound-port 0 --outbound-port 0 --admin-port 0 --config ./mesh

The mesh reaches the application through the inbound port, by mTLS; the application reaches the mesh through the
outbound port, by plain HTTP to names like http://inventory.mesh.
"""


def run(
    service: Annotated[str, typer.Option(metavar="NAME", help="The service that the application is an instance of.")],
    port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="Port that the application listens on.")],
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
    grace: arguments.Grace = "30s",
    log_level: arguments.LogLevel = "info",
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="The application to start, after `--`.", show_default=False),
    ] = None,
) -> None:
    """Check the arguments and run."""
    directory = arguments.config_directory(config)
    arguments.log_to_stderr(log_level)

    from sidecar.snapshot import SidecarRole

    role = SidecarRole(
        service=service,
        app_address=arguments.endpoint(app_address, port, "--app-address"),
        inbound=arguments.endpoint(inbound_address, inbound_port, "--inbound-address"),
        outbound=arguments.endpoint("127.0.0.1", outbound_port, "--outbound-port"),
    )
    arguments.start(role, directory, admin_port, state_dir, arguments.seconds(grace, "--grace"), command or [])
