"""Who waits at which rung, and who goes on: successive halving that promotes, under many losses.

A rung keeps the losses of every trial that arrived there. One in eta of them goes on, never more:
as soon as enough have arrived, the best one that waits, at the highest rung that has such a one
(Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from automl.scheduling import next_to_promote, quota


@dataclass(slots=True)
class _Rung:
    """The losses of each trial that arrived, and who of them went on, or will never."""

    losses: dict[str, Sequence[float]] = field(default_factory=dict)
    promoted: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)


class Rungs:
    """The rungs of a study, by their epoch."""

    def __init__(self, epochs: Sequence[int], eta: int) -> None:
        self._eta = eta
        self._rungs: dict[int, _Rung] = {epoch: _Rung() for epoch in epochs}

    def __contains__(self, epoch: int) -> bool:
        return epoch in self._rungs

    def arrive(self, trial_id: str, epoch: int, losses: Sequence[float]) -> None:
        """A trial has trained `epoch` epochs and waits."""
        self._rungs[epoch].losses[trial_id] = tuple(losses)

    def promote(self, trial_id: str, epoch: int) -> None:
        """A trial goes on from a rung."""
        self._rungs[epoch].promoted.add(trial_id)

    def give_up(self, trial_id: str) -> None:
        """A trial has ended: it is compared with, and never goes on."""
        for rung in self._rungs.values():
            if trial_id in rung.losses:
                rung.gone.add(trial_id)

    def arrived(self, epoch: int) -> int:
        """How many trials have arrived at a rung."""
        return len(self._rungs[epoch].losses)

    def next(self) -> tuple[str, int] | None:
        """The trial that goes on next, and from which epoch; None where all have to wait."""
        for epoch, rung in reversed(self._rungs.items()):
            if len(rung.promoted) < quota(len(rung.losses), self._eta):
                found = _best_waiting(rung)
                if found is not None:
                    return found, epoch
        return None


def _best_waiting(rung: _Rung) -> str | None:
    names = list(rung.losses)
    taken = [name in rung.promoted or name in rung.gone for name in names]
    if all(taken):
        return None
    return names[next_to_promote(list(rung.losses.values()), taken)]
