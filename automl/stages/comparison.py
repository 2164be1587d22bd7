"""A trial as recorded and as trained again: epoch by epoch, and the verdict on both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochComparison:
    """The scores of one epoch; `recorded` is None where the study holds none of it."""

    epoch: int
    recorded: Mapping[str, float] | None
    reproduced: Mapping[str, float]

    def difference(self, metric: str) -> float | None:
        """Reproduced minus recorded, or None where one of them is missing."""
        if self.recorded is None or metric not in self.recorded or metric not in self.reproduced:
            return None
        return self.reproduced[metric] - self.recorded[metric]

    def unequal(self) -> list[str]:
        """The recorded metrics that did not come out equal to the last bit."""
        recorded = {} if self.recorded is None else self.recorded
        return [name for name, value in recorded.items() if self.reproduced.get(name) != value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """A whole comparison; `metric` is the one that the tolerance holds for."""

    metric: str
    tolerance: float
    epochs: tuple[EpochComparison, ...]

    def __post_init__(self) -> None:
        if not self._compared:
            raise ValueError("a reproduction must compare at least one recorded epoch, got none")

    @property
    def verdict(self) -> Literal["identical", "within", "differs"]:
        """Identical to the last bit in every metric, else whether `metric` keeps the tolerance."""
        if not any(each.unequal() for each in self._compared):
            return "identical"
        if self.tolerance > 0 and self._largest(self.metric)[0] <= self.tolerance:
            return "within"
        return "differs"

    def verdict_text(self) -> str:
        """The verdict with the numbers that it rests on."""
        if self.verdict == "identical":
            recorded = self._compared[-1].recorded
            count = 0 if recorded is None else len(recorded)
            return f"identical: all {count} metrics of {_epochs(len(self._compared))}, bit by bit"
        first = next(each for each in self._compared if each.unequal())
        largest, epoch = self._largest(self.metric)
        where = f"{self.metric} by at most {largest:.3g}, at epoch {epoch}"
        if largest == 0:
            where = f"{self.metric} is equal, but not {', '.join(first.unequal())}"
        head = f"within {self.tolerance:g}" if self.verdict == "within" else "differs"
        return f"{head}: {where}; the first difference is at epoch {first.epoch}"

    @property
    def _compared(self) -> tuple[EpochComparison, ...]:
        return tuple(each for each in self.epochs if each.recorded is not None)

    def _largest(self, metric: str) -> tuple[float, int]:
        """The largest difference of a metric, and its epoch; infinite where a value is missing."""
        gaps = [(each.difference(metric), each.epoch) for each in self._compared]
        sizes = [(float("inf") if gap is None else abs(gap), -epoch) for gap, epoch in gaps]
        largest, epoch = max(sizes)
        return largest, -epoch


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"
