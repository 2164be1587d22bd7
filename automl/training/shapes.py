"""The shapes that a learning rate can have over a run, as factors of its peak.

Each is a pure function of the step, counted from 0, of the steps of the run and of those of the
warm-up, so that a run that goes on needs nothing but its step. `plateau` alone looks at scores; it
is a function of all of them up to now, which a checkpoint holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from automl.training.schedules import FINAL_FACTOR, lr_factor, warmed_up

#: The cycles of `cosine_restarts`: how many times as long each is as the one before, and how many.
CYCLE_GROWTH = 2
NUM_CYCLES = 3

#: `one_cycle` begins at the peak divided by the first, ends at that divided by the second, and
#: rises over this share of the steps. Source: the defaults of torch's OneCycleLR.
ONE_CYCLE_START = 25.0
ONE_CYCLE_END = 1e4
ONE_CYCLE_RISE = 0.3

#: The power of `polynomial`. Source: Chen et al. 2017 (DeepLab, arXiv:1606.00915), section 4.1.2.
POLYNOMIAL_POWER = 0.9

#: `plateau` multiplies the rate by the first after so many epochs without a better score, down to
#: `FINAL_FACTOR`. Better is by more than this share of the best score: torch's default.
PLATEAU_FACTOR = 0.5
PLATEAU_PATIENCE = 2
PLATEAU_THRESHOLD = 1e-4

#: Takes the step, the steps of the run and those of the warm-up.
Factor = Callable[[int, int, int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A factor of the peak at each step, and the first step at which it is 1."""

    factor: Factor
    peak: Callable[[int, int], int]


def constant(step: int, total_steps: int, warmup_steps: int) -> float:
    """The peak, after the warm-up."""
    return warmed_up(step, total_steps, warmup_steps, lambda: 1.0)


def cosine_restarts(step: int, total_steps: int, warmup_steps: int) -> float:
    """After the warm-up three cycles, each twice as long as the one before and each a half cosine.

    Source: Loshchilov & Hutter 2017 (SGDR, arXiv:1608.03983), eq. 5 and section 3, T_mult = 2; the
    lengths are those that fill the run. A cycle ends at `FINAL_FACTOR` at its own last step.
    """

    def falling() -> float:
        first, after = _cycle_of(step - warmup_steps, total_steps - warmup_steps)
        return lr_factor(step - warmup_steps - first, after - first, 0)

    return warmed_up(step, total_steps, warmup_steps, falling)


def one_cycle(step: int, total_steps: int, warmup_steps: int) -> float:
    """A rise on half a cosine, which is its own warm-up, then a fall on one to almost nothing.

    Source: Smith & Topin 2018 (arXiv:1708.07120), in the form of torch's OneCycleLR. The momentum
    stays as it is. Where the rise is no whole number of steps, it is rounded.
    """
    del warmup_steps

    def between() -> float:
        peak = _one_cycle_peak(total_steps)
        if step <= peak:
            return _eased(1 / ONE_CYCLE_START, 1.0, step / peak if peak else 1.0)
        end = 1 / ONE_CYCLE_START / ONE_CYCLE_END
        return _eased(1.0, end, (step - peak) / (total_steps - 1 - peak))

    return warmed_up(step, total_steps, 0, between)


def polynomial(step: int, total_steps: int, warmup_steps: int) -> float:
    """`(1 - progress)^0.9` after the warm-up; at the last step one step of it is left."""

    def falling() -> float:
        progress = (step - warmup_steps) / (total_steps - warmup_steps)
        return float((1 - progress) ** POLYNOMIAL_POWER)

    return warmed_up(step, total_steps, warmup_steps, falling)


def plateau_factor(scores: Sequence[float]) -> float:
    """The factor of the rate after epochs with these scores, of which more is better.

    It is what torch's ReduceLROnPlateau does in mode max. Source of the idea: He et al. 2015
    (arXiv:1512.03385), section 3.4.
    """
    best, bad, factor = -math.inf, 0, 1.0
    for score in scores:
        if score > best * (1 + PLATEAU_THRESHOLD):
            best, bad = score, 0
        else:
            bad += 1
        if bad > PLATEAU_PATIENCE:
            factor, bad = max(FINAL_FACTOR, factor * PLATEAU_FACTOR), 0
    return factor


#: The shapes by their names in a search space.
SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "cosine": Shape(factor=lr_factor, peak=lambda _total, warmup: warmup),
        "constant": Shape(factor=constant, peak=lambda _total, warmup: warmup),
        "cosine_restarts": Shape(factor=cosine_restarts, peak=lambda _total, warmup: warmup),
        "one_cycle": Shape(factor=one_cycle, peak=lambda total, _warmup: _one_cycle_peak(total)),
        "polynomial": Shape(factor=polynomial, peak=lambda _total, warmup: warmup),
        # Between its warm-up and the scores it is constant.
        "plateau": Shape(factor=constant, peak=lambda _total, warmup: warmup),
    }
)


def level_after(schedule: str, scores: Sequence[float]) -> float:
    """What the scores of the epochs so far do to the rate of a schedule: for most, nothing."""
    return plateau_factor(scores) if schedule == "plateau" else 1.0


def _one_cycle_peak(total_steps: int) -> int:
    return max(0, round(ONE_CYCLE_RISE * total_steps) - 1)


def _eased(start: float, end: float, progress: float) -> float:
    """From `start` to `end` on half a cosine."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


def _cycle_of(step: int, num_steps: int) -> tuple[int, int]:
    """The first step of the cycle that a step is in, and the first one after it."""
    parts = [CYCLE_GROWTH**cycle for cycle in range(NUM_CYCLES)]
    ends = [round(num_steps * sum(parts[: n + 1]) / sum(parts)) for n in range(NUM_CYCLES)]
    first = max((end for end in ends if end <= step), default=0)
    return first, min(end for end in ends if end > step)
