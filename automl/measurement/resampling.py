"""What chance does to scores over images: bootstrap intervals, and paired tests. numpy only.

Legend: N images, B resamples, K classes. All is made from what each image counts, so that scores
of a whole data set are resampled as such, not means of per-image scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from automl.measurement.repeats import CONFIDENCE

Floats = NDArray[np.float64]

#: Resamples of an interval, and relabellings of a test.
RESAMPLES = 2000

#: Most weights of images that are held at a time: 32 MB.
_MOST_WEIGHTS = 4_000_000


def bootstrap_weights(num_images: int, resamples: int, seed: int) -> Floats:
    """How often each image is in each resample, (B, N): N draws with replacement.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 6.
    """
    return np.concatenate(list(bootstrap_blocks(num_images, resamples, seed)))


def bootstrap_blocks(num_images: int, resamples: int, seed: int) -> Iterator[Floats]:
    """The same some rows at a time, so that memory does not grow with both numbers."""
    if num_images < 1 or resamples < 1:
        raise ValueError(
            f"a bootstrap needs images and resamples, got {num_images} and {resamples}"
        )
    shares, rng = np.full(num_images, 1 / num_images), np.random.default_rng(seed)
    rows = max(1, _MOST_WEIGHTS // num_images)
    for first in range(0, resamples, rows):
        count = min(rows, resamples - first)
        yield rng.multinomial(num_images, shares, size=count).astype(np.float64)


def swaps(num_images: int, resamples: int, seed: int) -> Floats:
    """Which images change sides in each relabelling, (B, N): each with probability 1/2."""
    if num_images < 1 or resamples < 1:
        raise ValueError(f"a test needs images and resamples, got {num_images} and {resamples}")
    drawn = np.random.default_rng(seed).integers(0, 2, size=(resamples, num_images))
    return drawn.astype(np.float64)


def percentile_interval(values_b: Floats) -> tuple[float, float] | None:
    """The middle 95 % of resampled scores; None where fewer than half of them have a value.

    Source: Efron and Tibshirani 1993, chapter 13 (the percentile interval).
    """
    present = values_b[np.isfinite(values_b)]
    if 2 * len(present) < len(values_b):
        return None
    low, high = np.quantile(present, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def permutation_p(observed: float, resampled_b: Floats) -> float:
    """The two-sided p value of a difference among those of random relabellings.

    The observed labelling counts as one of them, so that p is never 0. Source: Phipson and Smyth
    2010, "Permutation P-values should never be zero". A relabelling without a value counts as far
    off, to be on the safe side.
    """
    sizes = np.where(np.isfinite(resampled_b), np.abs(resampled_b), np.inf)
    # Sums in another order differ in their last digits.
    extreme = int((sizes >= abs(observed) * (1 - 1e-9)).sum())
    return (extreme + 1) / (len(resampled_b) + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values of a family of tests, adjusted so that one false alarm in the family is as rare.

    Source: Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    count = len(p_values)
    adjusted, least = [0.0] * count, 0.0
    for place, index in enumerate(sorted(range(count), key=lambda index: p_values[index])):
        least = max(least, min(1.0, (count - place) * p_values[index]))
        adjusted[index] = least
    return adjusted
