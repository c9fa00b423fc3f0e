"""`sidecar intentions`: who calls whom, as rules."""

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidecar.cli import instances

if TYPE_CHECKING:
    from sidecar.rundir import Instance

cli = typer.Typer(help="Write rules about callers from what was observed.", no_args_is_help=True)

SUGGEST_HELP = """
Print the least intentions of Consul that the observed callers of this host's services need.

A sidecar observes while its service's document has `allow_candidate`: what that would refuse is counted by caller and
method. Write `allow_candidate: []`, which would refuse all, let the traffic of a few days come, then:

Examples:

\b
  sidecar intentions suggest > intentions.json
  sidecar intentions suggest --service orders | consul config write -
"""

_COUNTED = re.compile(r'sidecar_candidate_refusals_total\{source="((?:[^"\\]|\\.)*)",method="((?:[^"\\]|\\.)*)"\} \d+')
_ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}
# What the data plane calls callers and methods beyond its bound, and a connection whose bytes nobody reads.
_OTHERS, _CONNECTION = "others", "tcp"


@cli.command(short_help="Print the intentions that the observed traffic needs.", help=SUGGEST_HELP)
def suggest(
    service: Annotated[str, typer.Option("--service", "-s", help="Of this service alone.")] = "",
) -> None:
    """Ask every sidecar in the run directory."""
    from http.client import HTTPException

    from sidecar.errors import SidecarError

    sidecars = [instance for instance in instances.running() if instance.role == "sidecar"]
    asked = [instance for instance in sidecars if service in ("", instance.name)]
    if not asked:
        raise SidecarError(f"no sidecar{f' of {service}' if service else ''} of this user runs here")
    seen: dict[str, set[tuple[str, str]]] = {}
    for instance in asked:
        try:
            observed, complaint = _observed(instance)
        except (OSError, ValueError, HTTPException) as error:
            raise SidecarError(f"the sidecar of {instance.name} does not answer: {error}") from error
        seen.setdefault(instance.name, set()).update(observed)
        if complaint:
            typer.echo(f"{instance.name}: {complaint}", err=True)
    for name, calls in sorted(seen.items()):
        if calls:
            typer.echo(json.dumps(entry(name, calls), indent=2))


def entry(service: str, calls: set[tuple[str, str]]) -> dict[str, Any]:
    """The config entry `service-intentions` that allows these pairs of caller and method, and nothing else."""
    sources: list[dict[str, Any]] = []
    for source in sorted({source for source, _ in calls if source != _OTHERS}):
        methods = sorted(method for caller, method in calls if caller == source)
        if methods == [_CONNECTION]:
            sources.append({"Name": source, "Action": "allow"})
            continue
        permissions: list[dict[str, Any]] = [
            # A gRPC call is a POST to its method's name.
            {"Action": "allow", "HTTP": {"PathExact": method, "Methods": ["POST"]}}
            for method in methods
            if method.startswith("/")
        ]
        if plain := [method for method in methods if not method.startswith("/") and method != _CONNECTION]:
            permissions.append({"Action": "allow", "HTTP": {"PathPrefix": "/", "Methods": plain}})
        # Without it the default policy would decide about all else.
        permissions.append({"Action": "deny", "HTTP": {"PathPrefix": "/"}})
        sources.append({"Name": source, "Permissions": permissions})
    sources.append({"Name": "*", "Action": "deny"})
    return {"Kind": "service-intentions", "Name": service, "Sources": sources}


def _observed(instance: "Instance") -> tuple[set[tuple[str, str]], str]:
    """Pairs of caller and method, and what a person should know of them."""
    documents = instances.get(instance.admin, "/api/v1/config")["documents"]
    fields: dict[str, Any] = next(
        (item["fields"] for item in documents if (item["kind"], item["name"]) == ("service", instance.name)), {}
    )
    calls = set(_counted(instances.text(instance.admin, "/metrics")))
    if "allow_candidate" not in fields:
        return calls, "nothing is observed now: write `allow_candidate: []` in its document"
    if fields["allow_candidate"]:
        return calls, "what its `allow_candidate` takes is not counted, so add those rules, or write `[]`"
    if (_OTHERS, _OTHERS) in calls:
        return calls, "there were more callers and methods than are counted by themselves; some are missing here"
    return calls, "" if calls else "nobody has called yet"


def _counted(metrics: str) -> Iterator[tuple[str, str]]:
    for source, method in _COUNTED.findall(metrics):
        yield _unescaped(source), _unescaped(method)


def _unescaped(label: str) -> str:
    return re.sub(r"\\.", lambda found: _ESCAPES.get(found[0], found[0]), label)
