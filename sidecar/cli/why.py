"""`sidecar why`: the story of one request, from what every sidecar on its way has kept of it."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidecar.cli import instances

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.story import Hop

HELP = """
Tell who decided how a request ended, and why, and what to do next.

ID is a request id (`x-request-id` of the answer, `instance` of a problem, `request_id` in the log) or a trace id. Each
sidecar and gateway keeps the last 1000 requests that failed and the slowest of the last quarter of an hour. All of this
host are asked, and those named with --admin. Without ID: what failed last, or with --slow what took longest.

Ends with 0 when something is known of it, with 3 when nothing is.

Examples:

\b
  sidecar why 4bf92f3577b34da6a3ce929d0e0e4736
  sidecar why 018bcfe5-687b-7fff-bfff-ffffffffffff --admin 127.0.0.1:29000
  sidecar why --slow
"""

# Requests of one instance in a list.
LISTED = 10


def why(
    name: Annotated[str, typer.Argument(metavar="[ID]", show_default=False, help="A request id or a trace id.")] = "",
    slow: Annotated[bool, typer.Option("--slow", help="Without ID: what took longest.")] = False,
    admin: instances.Admins = None,
    as_json: instances.AsJson = False,
) -> None:
    """Ask them, and join what they say."""
    asked = instances.asked(admin or ())
    if not name:
        _list(asked, "slowest" if slow else "failures", as_json=as_json)
        return
    from urllib.parse import urlencode

    from sidecar.story import Hop, join

    hops: list[Hop] = []
    silent = []
    for instance in asked:
        said = instances.said(instance, f"/api/v1/exchanges?{urlencode({'id': name})}")
        if "error" in said:
            silent.append(f"{instances.named(instance)}: {said['error']}")
        hops += [Hop(instance, record) for record in said.get("exchanges", ())]
    first = join(hops)
    if as_json:
        typer.echo(json.dumps({"id": name, "stories": [_json(hop) for hop in first], "silent": silent}, indent=2))
    elif first:
        typer.echo("\n\n".join("\n".join(_lines(hop)) for hop in first))
    for line in silent:
        typer.echo(line, err=True)
    if not first:
        names = ", ".join(instances.named(instance) for instance in asked)
        typer.echo(
            f"nothing is kept of {name} by {names}: only failures, and what was slow, are kept. "
            "Ask other hosts with --admin ADDRESS.",
            err=True,
        )
        raise typer.Exit(instances.TROUBLE)


def _list(asked: "Sequence[instances.Said]", kind: str, *, as_json: bool) -> None:
    """One line for each."""
    found = [{**instance, **instances.said(instance, f"/api/v1/{kind}?limit={LISTED}")} for instance in asked]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for said in found:
        typer.echo(f"{instances.named(said)}: {said.get('error') or ('' if said.get(kind) else 'none')}".rstrip(": "))
        for record in said.get(kind, ()):
            typer.echo(f"  {record['time'][11:23]}  {record['request_id']}  {_asked(record)}: {_ended(record)}")


def _lines(first: "Hop") -> list[str]:
    from sidecar.story import decided

    record, verdict = first.record, decided(first)
    ids = f"request {record['request_id']}" + (f", trace {record['trace_id']}" if record["trace_id"] else "")
    lines = [f"{_asked(record)}: {_ended(record)}", ids, ""]
    lines.append(f"{verdict.who}{verdict.reason and ': ' + verdict.reason}")
    lines.append(f"  {verdict.what}")
    lines += [f"  rule: {verdict.rule}"] if verdict.rule else []
    lines += [f"  written in: {verdict.origin}"] if verdict.origin else []
    lines += [f"  next: {verdict.next}", ""]
    begin = record["unix_nanos"]
    for depth, hop in first.walk():
        lines += _hop(hop, (hop.record["unix_nanos"] - begin) / 1e6, "  " * depth)
    return lines


def _hop(hop: "Hop", at: float, indent: str) -> list[str]:
    record = hop.record
    leads = f" → route {record['route']}" if record["route"] else ""
    leads += f" → {record['cluster']}" if record["cluster"] else ""
    by = f" called by {record['peer']}" if record["peer"] else ""
    lines = [f"{at:+9.1f} ms  {indent}{hop.who}, {record['direction']}{leads}{by}: {_ended(record)}"]
    pad = " " * 14 + indent
    candidates = record["candidates"]
    if record["reason"] and candidates["total"]:
        lines.append(
            f"{pad}of {candidates['total']} endpoints {candidates['healthy']} could be picked, "
            f"{candidates['ejected']} were ejected, {candidates['ill']} failed their health checks"
            + (", all were tried all the same (panic)" if candidates["panic"] else "")
        )
    for number, attempt in enumerate(record["attempts"], 1):
        why = attempt["why"] or attempt["grpc_status"] or attempt["status"] or "no answer"
        lines.append(f"{pad}try {number} at {attempt['address']}: {why}, {attempt['ms']:g} ms")
    return lines


def _asked(record: dict[str, Any]) -> str:
    if record["tcp"]:
        return f"a connection to {record['authority'] or record['cluster']}"
    return f"{record['method']} {record['authority']}{record['path']}"


def _ended(record: dict[str, Any]) -> str:
    """ "503 no-route after 1.2 ms"."""
    from sidecar.story import outcome

    reason = record["reason"] or (record["told"] or {}).get("reason", "")
    return f"{outcome(record)}{reason and ' ' + reason} after {record['ms']:g} ms"


def _json(first: "Hop") -> dict[str, Any]:
    from dataclasses import asdict

    from sidecar.story import decided

    def tree(hop: "Hop") -> dict[str, Any]:
        return {"instance": hop.instance, **hop.record, "below": [tree(below) for below in hop.below]}

    return {"verdict": asdict(decided(first)), **tree(first)}
