"""What the control side knows of itself: written by the composition root, read by the admin server."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from sidecar.world import World

State = Literal["starting", "ready", "draining"]


@dataclass
class Status:
    """One instance now. `refused` is the last change that was refused as a whole, "" when the last one was taken."""

    role: str
    name: str
    state: State = "starting"
    # What the start still waits for.
    waiting_for: str = "the data plane"
    world: World = field(default_factory=World)
    # Version of the snapshot that the data plane runs; 0 = none yet.
    version: int = 0
    refused: str = ""
    # What there is too little of, "memory" or "descriptors": and what is done without for it.
    lacks: dict[str, str] = field(default_factory=dict)
    # What `/ready` says beside the state, asked for each answer.
    details: Callable[[], Mapping[str, object]] = dict
