"""All verbs together, and the exit code of every error."""

import sys
from importlib import import_module
from typing import NoReturn

import typer

from sidecar.errors import ConfigError, ConsulError, SidecarError, SourceError

FAILED = 1
BAD_CONFIG = 78

# In the order of the help. Each is a module beside this one, with a function of that name and its HELP;
# "" stands for several verbs of their own, the module's `cli`.
VERBS = {
    "run": "Run the sidecar of one service.",
    "gateway": "Run a gateway at the edge of the mesh.",
    "config": "",
    "intentions": "",
    "status": "Tell how the sidecars of this host are.",
    "why": "Tell why a request ended as it did.",
    "explain": "Tell what would become of a request.",
    "certs": "Tell which certificates are shown and trusted.",
    "ca": "",
    "version": "Tell the version.",
}


def program(verb: str = "") -> typer.Typer:
    """The verb alone, so that it waits for no other one; all of them when this is none."""
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
    # By a callback a single verb stays a verb, and does not become the program itself.
    cli.callback()(lambda: None)
    for name in (verb,) if verb in VERBS else VERBS:
        module = import_module(f"sidecar.cli.{name}")
        if VERBS[name]:
            cli.command(name, short_help=VERBS[name], help=module.HELP)(getattr(module, name))
        else:
            cli.add_typer(module.cli, name=name)
    return cli


def main() -> NoReturn:
    """Run the command; every error of ours ends as its message and an exit code."""
    try:
        program(sys.argv[1] if len(sys.argv) > 1 else "")()
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
