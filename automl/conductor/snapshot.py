"""The state of a search at one moment, as displays see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from automl.conductor.trial_state import TrialState
from automl.ranking import pareto_front
from automl.records import Objective, TrialConfig, TrialMessage, TrialStatus, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The most accurate trial so far: its objectives, in the order of the experiment."""

    number: int
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Counts of trials by state, the front's size, and the times in seconds."""

    planned: int
    running: int
    completed: int
    stopped: int
    infeasible: int
    failed: int
    epochs: int
    front_size: int
    elapsed_s: float
    time_left_s: float | None
    best: Best | None

    @property
    def ended(self) -> int:
        """Trials that will not run again."""
        return self.completed + self.stopped + self.infeasible + self.failed

    @property
    def waiting(self) -> int:
        """Trials still to be started."""
        return max(0, self.planned - self.ended - self.running)


class Observer(Protocol):
    """Watches a search; the command line's progress display is one."""

    def on_message(self, config: TrialConfig, message: TrialMessage, verdict: Verdict) -> None:
        """Called after each message of a trial."""

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Called after each change."""


def time_left(ended: int, planned: int, elapsed_s: float, budget_s: float | None) -> float | None:
    """Seconds to go at the pace so far, at most what the budget leaves; None where unknown."""
    at_this_pace = elapsed_s / ended * max(0, planned - ended) if ended else None
    left = [at_this_pace] if at_this_pace is not None else []
    if budget_s is not None:
        left.append(max(0.0, budget_s - elapsed_s))
    return min(left, default=None)


def best_of(trials: Sequence[TrialState], objectives: Sequence[Objective]) -> Best | None:
    """The trial that leads in the first objective after its last epoch."""
    rows = [(row, t) for t in trials if (row := t.losses(objectives, t.last_epoch)) is not None]
    if not rows:
        return None
    row, trial = min(rows, key=lambda pair: pair[0][0])
    values = tuple(o.value(loss) for o, loss in zip(objectives, row, strict=True))
    return Best(number=trial.config.number, values=values)


def front_size(trials: Sequence[TrialState], objectives: Sequence[Objective]) -> int:
    """How many trials no other trial beats in every objective."""
    rows = [row for t in trials if (row := t.losses(objectives, t.last_epoch)) is not None]
    return len(pareto_front(rows))


def count(trials: Sequence[TrialState], status: TrialStatus) -> int:
    """How many trials ended with `status`."""
    return sum(trial.status is status for trial in trials)
