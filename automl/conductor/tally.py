"""What is counted while a search runs; kept up to date message by message, whatever its length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from automl.ranking import pareto_front
from automl.records import TrialStatus

Row = Sequence[float]


class Tally:
    """Trials by status, full epochs, the latest losses of each trial, and the front of these."""

    def __init__(self) -> None:
        self.ended: Counter[TrialStatus] = Counter()
        self.epochs = 0.0
        self.device_seconds = 0.0
        self._rows: dict[int, Row] = {}
        self._front: set[int] = set()
        self._seen: set[int] = set()
        self._since_front_changed = 0

    @property
    def front_size(self) -> int:
        """How many trials no other trial beats in every loss."""
        return len(self._front)

    @property
    def front_unchanged_for(self) -> int:
        """How many trials in a row were judged without a change of the front."""
        return self._since_front_changed

    def front(self) -> tuple[tuple[float, ...], ...]:
        """The losses of each trial of the front, by number."""
        return tuple(tuple(self._rows[number]) for number in sorted(self._front))

    def losses(self, number: int) -> tuple[float, ...] | None:
        """The latest losses of one trial; None before its first epoch."""
        return None if number not in self._rows else tuple(self._rows[number])

    def leader(self) -> tuple[int, Row] | None:
        """The number and the losses of the trial that leads in the first loss."""
        if not self._front:
            return None
        number = min(self._front, key=lambda n: (self._rows[n][0], n))
        return number, self._rows[number]

    def score(self, number: int, row: Row) -> None:
        """Trial `number` has new losses."""
        before = set(self._front)
        known = self._rows.get(number)
        self._rows[number] = row
        if number in self._front and known != row:
            names = list(self._rows)
            front = pareto_front([self._rows[name] for name in names])
            self._front = {names[index] for index in front}
        elif number not in self._front:
            self._insert(number, row)
        if self._front != before:
            self._since_front_changed = 0

    def judge(self, number: int) -> None:
        """Trial `number` has come to a rung or to an end; later times do not count."""
        if number not in self._seen:
            self._seen.add(number)
            if number not in self._front:
                self._since_front_changed += 1

    def _insert(self, number: int, row: Row) -> None:
        rivals = [(name, self._rows[name]) for name in self._front]
        if any(_dominates(rival, row) for _, rival in rivals):
            return
        self._front -= {name for name, rival in rivals if _dominates(row, rival)}
        self._front.add(number)


def _dominates(left: Row, right: Row) -> bool:
    pairs = list(zip(left, right, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
