"""Who waits at which rung, and who goes on: successive halving that promotes, under many losses.

A rung keeps the losses of every trial that arrived there. One in eta of them goes on, never more:
as soon as enough have arrived, the best one that waits, at the highest rung that has such a one
(Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from automl.scheduling import next_to_promote, quota


class _Rung:
    """The losses of each trial that arrived, in arrays that grow; who waits, and who went on."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._places: dict[str, int] = {}
        self._losses_nd = np.empty((0, 0))
        self._waiting_n = np.empty(0, dtype=bool)
        self._promoted_n = np.empty(0, dtype=bool)
        self.num_promoted = 0

    def __len__(self) -> int:
        return len(self._names)

    def arrive(self, name: str, losses: Sequence[float]) -> None:
        """A trial waits from now on; a second time changes nothing."""
        if name in self._places:
            return
        place = len(self._names)
        if place == len(self._losses_nd):
            self._grow(len(losses))
        self._names.append(name)
        self._places[name] = place
        self._losses_nd[place] = losses
        self._waiting_n[place] = True

    def promote(self, name: str) -> None:
        """A trial goes on; for one that never arrived, being beside the rungs, nothing changes."""
        if name not in self._places:
            return
        place = self._places[name]
        self.num_promoted += not self._promoted_n[place]
        self._promoted_n[place] = True
        self._waiting_n[place] = False

    def give_up(self, name: str) -> None:
        """A trial that has ended is compared with, and never goes on."""
        if name in self._places:
            self._waiting_n[self._places[name]] = False

    def best_waiting(self) -> str | None:
        """Who goes on next, or None where nobody waits."""
        count = len(self)
        waiting_n = self._waiting_n[:count]
        if not waiting_n.any():
            return None
        return self._names[
            next_to_promote(self._losses_nd[:count], waiting_n, self._promoted_n[:count])
        ]

    def _grow(self, num_losses: int) -> None:
        more = max(16, len(self._names))
        self._losses_nd = np.vstack(
            [self._losses_nd.reshape(-1, num_losses), np.zeros((more, num_losses))]
        )
        self._waiting_n = np.append(self._waiting_n, np.zeros(more, dtype=bool))
        self._promoted_n = np.append(self._promoted_n, np.zeros(more, dtype=bool))


class Rungs:
    """The rungs of a study, by their epoch."""

    def __init__(self, epochs: Sequence[int], eta: int) -> None:
        self._eta = eta
        self._rungs = {epoch: _Rung() for epoch in epochs}

    def __contains__(self, epoch: int) -> bool:
        return epoch in self._rungs

    def arrive(self, trial_id: str, epoch: int, losses: Sequence[float]) -> None:
        """A trial has trained `epoch` epochs and waits."""
        self._rungs[epoch].arrive(trial_id, losses)

    def promote(self, trial_id: str, epoch: int) -> None:
        """A trial goes on from a rung."""
        self._rungs[epoch].promote(trial_id)

    def give_up(self, trial_id: str) -> None:
        """A trial has ended: it is compared with, and never goes on."""
        for rung in self._rungs.values():
            rung.give_up(trial_id)

    def arrived(self, epoch: int) -> int:
        """How many trials have arrived at a rung."""
        return len(self._rungs[epoch])

    def next(self) -> tuple[str, int] | None:
        """The trial that goes on next, and from which epoch; None where all have to wait."""
        for epoch, rung in reversed(self._rungs.items()):
            if rung.num_promoted < quota(len(rung), self._eta):
                found = rung.best_waiting()
                if found is not None:
                    return found, epoch
        return None
