"""The steps of a run, and the learning rate over them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

#: The cosine ends at this share of the peak learning rate.
FINAL_FACTOR = 0.01


def lr_factor(step: int, total_steps: int, warmup_steps: int) -> float:
    """The factor of the peak learning rate at `step`, counted from 0.

    It rises linearly over `warmup_steps` (step 0 already learns: 1 / warmup_steps), then falls on
    half a cosine to `FINAL_FACTOR` at the last step. Source: Goyal et al. 2017 (arXiv:1706.02677),
    section 2.2, for the warm-up; Loshchilov & Hutter 2017 (arXiv:1608.03983), eq. 5, one period.
    Raises ValueError for a step outside 0 to total_steps - 1 or a negative warm-up.
    """

    def falling() -> float:
        progress = (step - warmup_steps) / max(1, total_steps - 1 - warmup_steps)
        return FINAL_FACTOR + (1 - FINAL_FACTOR) * 0.5 * (1 + math.cos(math.pi * progress))

    return warmed_up(step, total_steps, warmup_steps, falling)


def warmed_up(
    step: int, total_steps: int, warmup_steps: int, afterwards: Callable[[], float]
) -> float:
    """The factor of the linear warm-up, or of what comes afterwards; raises as `lr_factor` does."""
    if not 0 <= step < total_steps:
        raise ValueError(f"step must be within 0 to {total_steps - 1}, got {step}")
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps must be at least 0, got {warmup_steps}")
    return (step + 1) / warmup_steps if step < warmup_steps else afterwards()


@dataclass(frozen=True, slots=True)
class Timetable:
    """The optimizer steps of each epoch of a run; epochs and steps are counted from 0."""

    steps: tuple[int, ...]

    @property
    def total(self) -> int:
        """The steps of the whole run."""
        return sum(self.steps)

    def first_step(self, epoch: int) -> int:
        """The first step of an epoch; of the one past the last, where the run ends."""
        return sum(self.steps[:epoch])

    def epoch_of(self, step: int) -> int:
        """The epoch that a step belongs to."""
        epoch = 0
        while epoch < len(self.steps) - 1 and step >= self.first_step(epoch + 1):
            epoch += 1
        return epoch

    def warmup_steps(self, epochs: float) -> int:
        """The steps of the first `epochs` epochs, a fraction included; at most half of the run."""
        whole = min(int(epochs), len(self.steps))
        following = self.steps[whole] if whole < len(self.steps) else 0
        return min(round(self.first_step(whole) + (epochs - whole) * following), self.total // 2)
