"""Whether pruning made a network faster: the gate that every pruned network meets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The speed of a pruned network as a multiple of that before pruning, and the verdict."""

    speedup: float
    accepted: bool
    reason: str

    @property
    def verdict(self) -> str:
        """The verdict in a line."""
        return f"{'accepted' if self.accepted else 'refused'}: {self.reason}"


def judge_pace(speedup: float, at_least: float, *, than: str) -> Pace:
    """Hold a speed, timed side by side, against the least one that is not noise."""
    percent = round((speedup - 1) * 100)
    word = "faster" if percent > 0 else "slower"
    reason = f"as fast as {than}" if percent == 0 else f"{abs(percent)} % {word} than {than}"
    accepted = speedup >= at_least
    if not accepted:
        reason += f" (at least {at_least:g} x the speed is needed)"
    return Pace(speedup=speedup, accepted=accepted, reason=reason)
