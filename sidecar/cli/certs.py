"""`sidecar certs`: the certificates of this host's sidecars and gateways, and when they are renewed."""

from typing import TYPE_CHECKING, Any

from sidecar.cli import instances

if TYPE_CHECKING:
    from sidecar.rundir import Instance

HELP = """
Tell which certificates the sidecars and gateways of this host show and trust.

For each: who it is, the chain, the roots, how long it has to live, and when the next one is due. No key is shown. Ends
with 0 when all is well, with 3 when a certificate has ended or could not be renewed.

Examples:

\b
  sidecar certs
  sidecar certs -o json
"""

# Seconds: certificates that are new are read first, by a process of its own.
ANSWER_WITHIN = 15.0


def certs(output: instances.Form = instances.Output.TEXT) -> None:
    """Ask every instance in the run directory."""
    instances.tell([_ask(instance) for instance in instances.running()], output, _lines, _is_trouble)


def _ask(instance: "Instance") -> dict[str, Any]:
    """What it says; `error` when it does not answer."""
    from http.client import HTTPException

    known = {"role": instance.role, "name": instance.name, "pid": instance.pid}
    try:
        return {**known, **instances.get(instance.admin, "/api/v1/certs", ANSWER_WITHIN)}
    except (OSError, ValueError, HTTPException) as error:
        return {**known, "error": f"its admin server does not answer: {error}"}


def _is_trouble(instance: dict[str, Any]) -> bool:
    shown = [instance.get("identity", {}), *instance.get("listeners", {}).values()]
    failed = "error" in instance or "detail" in instance or bool(instance.get("failure"))
    return failed or any(one.get("seconds_left", 0) <= 0 for one in shown)


def _lines(instance: dict[str, Any]) -> list[str]:
    who = f"{instance['role']} {instance['name']}"
    if why := instance.get("error") or instance.get("detail"):
        return [f"{who}: {why}"]
    own = instance["identity"]
    due = own["next_rotation"]
    lines = [
        f"{who}: {own['uri']}",
        f"  ends {own['ends']}, in {_span(own['seconds_left'])}; "
        f"{f'renewed at {due}' if due else 'renewed when its authority does'}, {own['rotations']} times so far",
        f"  authority: {instance['authority']}",
    ]
    if instance["failure"]:
        lines.append(f"  not renewed: {instance['failure']}")
    lines += [f"  chain: serial {one['serial']} by {one['issuer']}, ends {one['not_after']}" for one in own["chain"]]
    lines += [f"  trusted: {root['subject']}, ends {root['not_after']}" for root in instance["roots"]]
    for name, shown in instance["listeners"].items():
        names = ", ".join(shown["chain"][0]["dns_names"]) or shown["chain"][0]["subject"]
        lines.append(f"  listener {name}: {names}, ends {shown['ends']}, in {_span(shown['seconds_left'])}")
    return lines


def _span(seconds: int) -> str:
    """ "3 d 4 h", "2 h 5 min", "40 s", "ended"."""
    if seconds <= 0:
        return "ended"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds} s"
