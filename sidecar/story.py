"""What several instances recorded of one request or trace, joined into one story. Pure; all values are JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

# Nanoseconds by which the clocks of two hosts may differ, where only time tells what belongs to what.
SKEW = 1_000_000_000


@dataclass
class Hop:
    """One exchange as one instance saw it. `instance` has role, name, and listeners ("address:port" by name)."""

    instance: Json
    record: Json
    # Those that one of its attempts led to, in the order of time.
    below: list[Hop] = field(default_factory=list)

    @property
    def who(self) -> str:
        """ "sidecar orders"."""
        return f"{self.instance['role']} {self.instance['name']}"

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Hop]]:
        """It and all below it, with their depth."""
        yield depth, self
        for hop in self.below:
            yield from hop.walk(depth + 1)


@dataclass(frozen=True)
class Verdict:
    """Who decided the outcome, and why; `next` is what to do."""

    who: str
    # The reason's name; "" for an application's own answer, or for one that was only slow.
    reason: str
    what: str
    next: str
    rule: str = ""
    origin: str = ""


def join(hops: Sequence[Hop]) -> list[Hop]:
    """The first hop of each tree, in the order of time; all others are below the one that called them."""
    ordered = sorted(hops, key=_started)
    callers: dict[int, Hop] = {}
    first = []
    for place, hop in enumerate(ordered):
        # The clock of another host may be ahead; of a service that calls itself only time tells who was first.
        ahead = (other for other in ordered[place + 1 :] if other.who != hop.who)
        candidates = [*reversed(ordered[:place]), *ahead]
        caller = next(
            (other for other in candidates if _led_to(other, hop) and not _is_above(hop, other, callers)), None
        )
        if caller is None:
            first.append(hop)
        else:
            callers[id(hop)] = caller
            caller.below.append(hop)
    return first


def _is_above(hop: Hop, other: Hop, callers: dict[int, Hop]) -> bool:
    """Whether `other` is below `hop` already."""
    above = callers.get(id(other))
    return above is not None and (above is hop or _is_above(hop, above, callers))


def decided(first: Hop) -> Verdict:
    """Who decided how it ended: the last hop on the way that gave a reason, else whom it called."""
    path = _path(first)
    for hop in reversed(path):
        if hop.record["reason"]:
            origin = hop.record["origin"] + (f" (index {index})" if (index := hop.record["origin_index"]) else "")
            who = f"{hop.who} ({hop.record['direction']})"
            said = hop.record["detail"].removesuffix(hop.record["next"]).strip()
            return Verdict(who, hop.record["reason"], said, hop.record["next"], hop.record["rule"], origin)
        if told := hop.record["told"]:
            who = f"the proxy at {_last_address(hop)}, which was not asked"
            return Verdict(who, told["reason"], told["detail"], f"{told['next']} Ask it, too: --admin ADDRESS.")
    last = path[-1]
    if _has_failed(last.record):
        beside = last.record["direction"] == "inbound"
        who = (
            f"the application {last.instance['name']}"
            if beside
            else f"{last.record['cluster']} at {_last_address(last)}"
        )
        return Verdict(who, "", f"It answered {outcome(last.record)} by itself.", "Look at its log.")
    slow = max((hop for _, hop in first.walk()), key=_own_ms)
    return Verdict(
        slow.who,
        "",
        f"Nothing failed. Of {first.record['ms']:g} ms it had {_own_ms(slow):g} for itself and what it called.",
        "Look at what it called, and at its spans.",
    )


def outcome(record: Json) -> str:
    """ "503", "UNAVAILABLE", "no answer"."""
    if record["grpc_status"]:
        return str(record["grpc_status"])
    return str(record["status"]) if record["status"] else ("closed" if record["tcp"] else "no answer")


def _path(first: Hop) -> list[Hop]:
    """From the first hop down, by the last call of each that failed, else its last one."""
    path = [first]
    while below := path[-1].below:
        failed = [hop for hop in below if _has_failed(hop.record)]
        path.append((failed or below)[-1])
    return path


def _led_to(caller: Hop, called: Hop) -> bool:
    """Whether one of the caller's attempts is what `called` answered."""
    attempts, record = caller.record["attempts"], called.record
    if _started(caller) > _started(called) + SKEW:
        return False
    if any(attempt["span_id"] and attempt["span_id"] == record["parent_id"] for attempt in attempts):
        return True
    same = record["request_id"] == caller.record["request_id"]
    traced = bool(record["trace_id"]) and record["trace_id"] == caller.record["trace_id"]
    if not (same or traced) or not _within(caller.record, record):
        return False
    if record["direction"] == "outbound":
        # Between them is the application beside both.
        return bool(caller.record["direction"] == "inbound" and caller.instance["name"] == called.instance["name"])
    listens = called.instance["listeners"].get(record["listener"])
    return any(attempt["address"] == listens for attempt in attempts)


def _within(outer: Json, inner: Json) -> bool:
    begin, end = outer["unix_nanos"] - SKEW, outer["unix_nanos"] + outer["ms"] * 1e6 + SKEW
    return bool(begin <= inner["unix_nanos"] <= end)


def _started(hop: Hop) -> int:
    return int(hop.record["unix_nanos"])


def _has_failed(record: Json) -> bool:
    return bool(
        record["reason"] or record["told"] or record["status"] >= 500 or record["grpc_status"] not in ("", "OK")
    )


def _own_ms(hop: Hop) -> float:
    """Without what instances below it have recorded."""
    return round(float(hop.record["ms"]) - sum(float(below.record["ms"]) for below in hop.below), 3)


def _last_address(hop: Hop) -> str:
    attempts = hop.record["attempts"]
    return attempts[-1]["address"] if attempts else "an unknown address"
