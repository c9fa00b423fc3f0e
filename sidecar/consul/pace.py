"""How fast a loop may ask: a token bucket for its rounds, and a growing wait after failures."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Bucket:
    """`rate` rounds a second, `burst` of them at once. Times are seconds of one clock that only moves forward."""

    rate: float
    burst: float
    _tokens: float = field(init=False)
    _seen: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._tokens = self.burst

    def take(self, now: float) -> float:
        """Take one token; returns how many seconds to wait before it is there."""
        self._tokens = min(self.burst, self._tokens + (now - self._seen) * self.rate)
        self._seen = now
        self._tokens -= 1
        return max(0.0, -self._tokens / self.rate)


@dataclass
class Backoff:
    """Waits in seconds after failures in a row: doubled from `first` to `longest`."""

    first: float
    longest: float
    _failures: int = field(init=False, default=0)

    def after_failure(self, chance: float) -> float:
        """The next wait; `chance` (0 to 1) spreads those who failed together over its second half."""
        wait = min(self.longest, self.first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return wait * (0.5 + 0.5 * chance)

    def reset(self) -> None:
        """After a success."""
        self._failures = 0
