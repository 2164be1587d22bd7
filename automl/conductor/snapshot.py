"""The state of a search at one moment, as displays see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from automl.records import TrialConfig, TrialMessage, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The most accurate trial so far: its objectives, in the order of the plan."""

    number: int
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Counts of trials by state, the front's size, and the times in seconds.

    `epochs` counts full epochs, one on half of the data as a half. `planned_epochs` is what the
    rungs let the planned trials train at most. `front` has the losses of each trial of the front,
    and `default` those of trial 0, None before its first epoch.
    """

    planned: int
    running: int
    paused: int
    completed: int
    infeasible: int
    failed: int
    epochs: float
    planned_epochs: float
    device_hours: float
    front_size: int
    elapsed_s: float
    time_left_s: float | None
    best: Best | None
    front: tuple[tuple[float, ...], ...] = ()
    default: tuple[float, ...] | None = None

    @property
    def ended(self) -> int:
        """Trials that will not run again."""
        return self.completed + self.infeasible + self.failed

    @property
    def waiting(self) -> int:
        """Trials still to be started."""
        return max(0, self.planned - self.ended - self.running - self.paused)


class Observer(Protocol):
    """Watches a search; the command line's progress display is one."""

    def on_message(self, config: TrialConfig, message: TrialMessage, verdict: Verdict) -> None:
        """Called after each message of a trial."""

    def on_promoted(self, config: TrialConfig, epoch: int) -> None:
        """Called when a trial that was paused after `epoch` is about to go on."""

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Called after each change."""


def time_left(done: float, elapsed_s: float, budget_s: float | None) -> float | None:
    """Seconds to go at the pace so far, at most what the budget leaves; None where unknown.

    `done` is the share of the planned epochs that are trained.
    """
    at_this_pace = elapsed_s * (1 - done) / done if done > 0 else None
    left = [max(0.0, at_this_pace)] if at_this_pace is not None else []
    if budget_s is not None:
        left.append(max(0.0, budget_s - elapsed_s))
    return min(left, default=None)
