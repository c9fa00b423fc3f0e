"""`sidecar explain`: what would become of a request, by the rules in force or by those of a directory."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidecar.cli import instances

if TYPE_CHECKING:
    from sidecar.explanation import Asked

HELP = """
Tell which route a request would take and why not the others, what is done to it, whom it reaches, and whether it may.

Nothing is sent. Live, the instances of this host are asked, and those named with --admin; with --dir the documents of a
directory decide, and nothing need run. The request begins at the sidecar or gateway --at, and is followed to the
sidecar of the service that it reaches.

Ends with 0 when it would get through, with 3 when no route takes it or a rule refuses it.

Examples:

\b
  sidecar explain GET https://shop.example.com/cart -H 'x-canary: 1' --at edge --client 203.0.113.7
  sidecar explain POST http://orders/shop.v1.Orders/Get --at web --dir ./mesh
"""

# What is asked at one instance: its name, and the answer or {"error": …}.
Ask = Callable[[str, "Asked"], dict[str, Any]]

Header = Annotated[
    list[str] | None, typer.Option("--header", "-H", metavar="'NAME: VALUE'", show_default=False, help="Repeatable.")
]
Directory = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", show_default=False, help="Documents to explain by, with nothing running."),
]
At = Annotated[
    str,
    typer.Option(
        "--at",
        metavar="NAME",
        show_default="the only one, else the only gateway",
        help="A gateway or a service.",
    ),
]


def explain(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, …")],
    url: Annotated[str, typer.Argument(metavar="URL", help="http://orders/path; the host is whom it is meant for.")],
    header: Header = None,
    client: Annotated[
        str, typer.Option("--client", metavar="IP", show_default="this host", help="Where the request comes from.")
    ] = "",
    at: At = "",
    directory: Directory = None,
    admin: instances.Admins = None,
    as_json: instances.AsJson = False,
) -> None:
    """Ask at the first instance, then at the sidecars of the services that it leads to."""
    from sidecar.errors import SidecarError
    from sidecar.explanation import Asked

    names, ask = _offline(directory) if directory is not None else _live(admin)
    headers = tuple(Asked.of_header(text) for text in header or ())
    asked = Asked(method.upper(), url, headers, client=client)
    first = ask(_begin(at, names), asked)
    if "error" in first:
        raise SidecarError(first["error"])
    hops = [first, *_callees(first, asked, ask)]
    typer.echo(json.dumps(hops, indent=2) if as_json else "\n".join(line for hop in hops for line in _lines(hop)))
    if any("error" not in hop and (hop["route"] is None or hop["refused"]) for hop in hops):
        raise typer.Exit(instances.TROUBLE)


def _begin(at: str, names: dict[str, str]) -> str:
    """Where the request begins; `names` has the role of each."""
    from sidecar.config.spelling import did_you_mean, listed
    from sidecar.errors import SidecarError

    gateways = [name for name, role in names.items() if role == "gateway"]
    if at in names:
        return at
    if at:
        raise SidecarError(f"there is no `{at}` among {listed(names)}; {did_you_mean(at, names)}".rstrip("; "))
    for only in (list(names), gateways):
        if len(only) == 1:
            return only[0]
    raise SidecarError(f"say with --at where the request begins: {listed(names)}")


def _callees(first: dict[str, Any], asked: "Asked", ask: Ask) -> Iterator[dict[str, Any]]:
    """What the sidecars of the services say that it may reach, of a request from the first."""
    from dataclasses import replace
    from urllib.parse import urlsplit

    url = urlsplit(asked.url)
    onward = replace(asked, url=f"{url.scheme}://{url.netloc}{first['target']}", source=first["name"], client="")
    services = [to["service"] for to in first["destinations"] if to["service"] and to["protocol"] != "tcp"]
    for service in dict.fromkeys(services):
        yield {"name": service, **ask(service, onward)}


def _live(admin: list[str] | None) -> "tuple[dict[str, str], Ask]":
    """The instances that run, and how to ask them."""
    from urllib.parse import urlencode

    found = {instance["name"]: instance for instance in instances.asked(admin or ())}

    def ask(name: str, asked: "Asked") -> dict[str, Any]:
        if name not in found:
            return {"error": f"the sidecar of {name} is not on this host; name it with --admin ADDRESS"}
        return instances.said(found[name], f"/api/v1/explain?{urlencode(asked.query())}")

    return {name: instance["role"] for name, instance in found.items()}, ask


def _offline(directory: Path) -> "tuple[dict[str, str], Ask]":
    """The gateways and services of a directory, explained by a data plane that has no listener."""
    from sidecar import dataplane
    from sidecar.engine.directory import first_world
    from sidecar.errors import SidecarError
    from sidecar.explanation import explain as explained
    from sidecar.snapshot import GatewayRole, SidecarRole
    from sidecar.sources.files import FileSource
    from sidecar.wire.control_pb2 import Options

    world = first_world(FileSource(directory), SidecarRole(""))
    plane = dataplane.start(Options(workers=1))

    def ask(name: str, asked: "Asked") -> dict[str, Any]:
        role = GatewayRole(name) if name in world.gateways and not asked.source else SidecarRole(name)
        try:
            return explained(plane, world, role, asked)
        except SidecarError as error:
            return {"error": str(error)}

    services = {key.name: "sidecar" for key in world.documents if key.kind == "service"}
    return {**services, **dict.fromkeys(world.gateways, "gateway")}, ask


def _lines(hop: dict[str, Any]) -> list[str]:
    if "error" in hop:
        return [f"at {hop['name']}: not known: {hop['error']}"]
    called = f", called by {hop['from']}" if hop["from"] else ""
    lines = [f"at {hop['role']} {hop['name']}, listener {hop['listener']}{called}, host {hop['host'] or '(none)'}"]
    lines += [f"  {'allowed' if rule['allow'] else 'refused'} by {rule['by']}" for rule in hop["rules"]]
    lines += [f"  refused: {hop['refused']}"] if hop["refused"] else []
    if hop["route"] is not None:
        lines.append(f"  yes: {_route(hop['route'])}")
    else:
        near = f"; did you mean `{hop['nearest_host']}`?" if hop["nearest_host"] else ""
        lines.append(f"  no route takes it{near}")
    for other in hop["others"]:
        why = "; ".join(other["conditions"]) or "would take it too, but the one above comes first"
        lines.append(f"  no: {_route(other)}: {why}")
    if hop["other_hosts"]:
        lines.append(f"  no: {hop['other_hosts']} more, for other hosts")
    lines += [f"  {each['filter']}: {each['effect']}" for each in hop["filters"]]
    if hop["destinations"]:
        lines.append(f"  timeout: {_seconds(hop['timeout_ms'])}; retry: {_tries(hop['retry'])}")
    return [*lines, *(f"  → {_destination(to)}" for to in hop["destinations"])]


def _route(route: dict[str, Any]) -> str:
    index = f", index {route['origin_index']}" if route["origin_index"] else ""
    return f"route {route['name']}" + (f" ({route['origin']}{index})" if route["origin"] else "")


def _destination(to: dict[str, Any]) -> str:
    limits = ", ".join(f"{name} {most}" for name, most in to["limits"].items())
    expected = f"mutual TLS with {', '.join(to['expected'])}" if to["expected"] else "in the clear"
    whom = "the application" if not to["service"] else to["cluster"]
    return f"{to['share']} to {whom}: {to['protocol']}, {to['load_balancer']}, {expected}{limits and '; ' + limits}"


def _seconds(milliseconds: int | None) -> str:
    return f"{milliseconds / 1000:g} s" if milliseconds else "none"


def _tries(retry: dict[str, Any]) -> str:
    if retry["attempts"] == 1:
        return "none"
    each = f", each {_seconds(retry['per_try_timeout_ms'])}" if retry["per_try_timeout_ms"] else ""
    return f"{retry['attempts']} tries on {', '.join(retry['on'])}{each}"
