"""The mean of a few repetitions, and how far chance may have carried it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

#: The share of such intervals that hold the true mean.
CONFIDENCE = 0.95

_HALVINGS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanInterval:
    """The mean of `count` values; its interval is `mean` plus and minus `half_width`.

    `half_width` is None for a single value, which says nothing of its own chance.
    """

    mean: float
    half_width: float | None
    count: int


def mean_interval(values: Sequence[float]) -> MeanInterval:
    """The mean with its 95 % interval, `mean +- t * s / sqrt(n)`; ValueError without a value.

    `s` is the sample's standard deviation and `t` Student's with n - 1 degrees of freedom: the
    values are taken for independent draws of one normal distribution.
    Source: Student 1908, "The probable error of a mean".
    """
    if not values:
        raise ValueError("a mean needs at least one value, got none")
    count = len(values)
    half_width = None
    if count > 1:
        half_width = t_bound(count - 1) * statistics.stdev(values) / math.sqrt(count)
    return MeanInterval(mean=statistics.fmean(values), half_width=half_width, count=count)


def t_bound(degrees: int) -> float:
    """The bound that 95 % of |t| keep, for Student's t with `degrees` degrees of freedom."""
    if degrees < 1:
        raise ValueError(f"degrees of freedom must be at least 1, got {degrees}")
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < CONFIDENCE else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _within(angle: float, degrees: int) -> float:
    """P(|T| <= sqrt(degrees) * tan(angle)). Source: Abramowitz and Stegun 1964, 26.7.3, 26.7.4."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0
    for power in range(2 + odd, degrees + 1, 2):
        total += term
        term *= cosine**2 * (power - 1) / power
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
