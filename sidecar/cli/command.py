"""All verbs together, and the exit code of every error."""

import sys
from typing import NoReturn

import typer

from sidecar.cli import ca, certs, config, gateway, intentions, run, status, version
from sidecar.errors import ConfigError, ConsulError, SidecarError, SourceError

FAILED = 1
BAD_CONFIG = 78

# Without rich: its import would cost every command time and a running sidecar memory.
cli = typer.Typer(
    name="sidecar",
    help="A service-mesh sidecar and an edge gateway that explain every failure.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cli.command(short_help="Run the sidecar of one service.", help=run.HELP)(run.run)
cli.command(short_help="Run a gateway at the edge of the mesh.", help=gateway.HELP)(gateway.gateway)
cli.add_typer(config.cli, name="config")
cli.add_typer(intentions.cli, name="intentions")
cli.command(short_help="Tell how the sidecars of this host are.", help=status.HELP)(status.status)
cli.command(short_help="Tell which certificates are shown and trusted.", help=certs.HELP)(certs.certs)
cli.add_typer(ca.cli, name="ca")
cli.command(short_help="Tell the version.", help=version.HELP)(version.version)


def main() -> NoReturn:
    """Run the command; every error of ours ends as its message and an exit code."""
    try:
        cli()
    except ConsulError as error:
        _exit(error, FAILED)
    except (ConfigError, SourceError) as error:
        _exit(error, BAD_CONFIG)
    except SidecarError as error:
        _exit(error, FAILED)
    sys.exit(0)


def _exit(error: SidecarError, code: int) -> NoReturn:
    print(f"sidecar: {error}" if code == FAILED else error, file=sys.stderr)
    sys.exit(code)
