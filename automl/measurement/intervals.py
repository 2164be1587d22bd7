"""How far scores depend on which images there happened to be: bootstrap over the images of a split.

Images are drawn with replacement, as many as there are, and the scores of each draw are those of all
its pixels together. The interval is the middle 95 % of the draws. It tells of the choice of images
alone, not of the seed that a network was trained with. Source: Efron and Tibshirani 1993, An
Introduction to the Bootstrap, section 13.3 (percentile interval).

Legend: N images, K classes, R resamples; S the three counts of a class.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Resamples; the ends of an interval then vary little from seed to seed.
RESAMPLES = 1000

#: Between these shares of the resamples lies the interval.
_SHARES = (0.025, 0.975)

#: Fewer images say too little of how images vary.
MIN_IMAGES = 5

Interval = tuple[float, float]


def class_counts(confusion_kk: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of one image: pixels right, of the class, and called the class; int64 (3, K)."""
    return np.stack([np.diag(confusion_kk), confusion_kk.sum(axis=1), confusion_kk.sum(axis=0)])


def bootstrap_intervals(
    counts_nsk: NDArray[np.int64], classes: Sequence[str], *, seed: int = 0
) -> dict[str, Interval]:
    """Intervals of `miou` and of `iou.<class>` by name, from the counts of each image.

    A class that occurs in no target and no prediction has none, and a resample without a class says
    nothing of it; with fewer than `MIN_IMAGES` images there is no interval at all.
    """
    num_images = len(counts_nsk)
    if num_images < MIN_IMAGES:
        return {}
    random = np.random.default_rng(seed)
    drawn_rn = random.multinomial(num_images, np.full(num_images, 1 / num_images), RESAMPLES)
    flat = counts_nsk.reshape(num_images, -1).astype(np.float64)
    hits_rk, target_rk, called_rk = np.moveaxis(
        (drawn_rn @ flat).reshape(RESAMPLES, 3, len(classes)), 1, 0
    )
    union_rk = target_rk + called_rk - hits_rk
    iou_rk = np.divide(hits_rk, union_rk, out=np.full_like(hits_rk, np.nan), where=union_rk > 0)
    occurs_k = ~np.isnan(iou_rk).all(axis=0)
    drawn = {"miou": _means(iou_rk[:, occurs_k])}
    drawn |= {f"iou.{name}": iou_rk[:, k] for k, name in enumerate(classes) if occurs_k[k]}
    return {name: _interval(values) for name, values in drawn.items() if occurs_k.any()}


def _means(values_rk: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the classes of each resample; nan where it holds none."""
    known = ~np.isnan(values_rk)
    count, total = known.sum(axis=1), np.where(known, values_rk, 0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _interval(values_r: NDArray[np.float64]) -> Interval:
    low, high = np.nanquantile(values_r, _SHARES)
    return float(low), float(high)
