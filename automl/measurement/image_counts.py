"""What each image of a split counts, as far as the scores of the whole split need it. numpy only.

Legend: N images, B resamples, K classes. Scores are of the whole split, not means of those of
images; so a resample draws images, adds up what they count, and scores the sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from automl.measurement.resampling import (
    RESAMPLES,
    bootstrap_blocks,
    percentile_interval,
)

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Interval = tuple[float, float]

#: Fewer images than these say nothing of how scores vary from image to image.
_LEAST_IMAGES = 2


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """The pixels of all images by class, and those of each image that its IoU is made of.

    `confusion_kk` has a row a target; `hits_nk` are the pixels that are right, `both_nk` those of
    the truth and those of the prediction together.
    """

    confusion_kk: Counts
    hits_nk: Counts
    both_nk: Counts

    @classmethod
    def of(cls, confusions: Iterable[Counts], num_classes: int) -> Self:
        """Take the confusion matrix (K, K) of one image after another."""
        total = np.zeros((num_classes, num_classes), np.int64)
        hits, both = [], []
        for confusion_kk in confusions:
            total += confusion_kk
            hits.append(np.diagonal(confusion_kk))
            both.append(confusion_kk.sum(axis=0) + confusion_kk.sum(axis=1))
        none = (0, num_classes)
        return cls(
            total,
            np.stack(hits) if hits else np.zeros(none, np.int64),
            np.stack(both) if both else np.zeros(none, np.int64),
        )

    def iou(self, weights_bn: Floats) -> Floats:
        """The IoU (B, K) of each class for each weighting of the images; NaN where it has none."""
        hits_bk = weights_bn @ self.hits_nk.astype(np.float64)
        return ratio(hits_bk, weights_bn @ self.both_nk.astype(np.float64) - hits_bk)

    def dice(self, weights_bn: Floats) -> Floats:
        """The Dice score (B, K) in the same way."""
        hits_bk = weights_bn @ self.hits_nk.astype(np.float64)
        return ratio(2 * hits_bk, weights_bn @ self.both_nk.astype(np.float64))


@dataclass(frozen=True, slots=True, kw_only=True)
class IouIntervals:
    """Where 95 % of the resampled scores lie: of the mean IoU, and of each class's.

    None of a class that most resamples do not hold.
    """

    mean: Interval | None
    classes: tuple[Interval | None, ...]


def iou_intervals(counts: ImageCounts, *, seed: int) -> IouIntervals:
    """Bootstrap over images: N are drawn with replacement, `RESAMPLES` times.

    The mean of a resample is over the classes that it holds. Of a single image there is no
    interval. Source: Efron and Tibshirani 1993, chapter 13 (the percentile interval).
    """
    num_images, num_classes = counts.hits_nk.shape
    if num_images < _LEAST_IMAGES:
        return IouIntervals(mean=None, classes=(None,) * num_classes)
    blocks = bootstrap_blocks(num_images, RESAMPLES, seed)
    iou_bk = np.concatenate([counts.iou(weights_bn) for weights_bn in blocks])
    return IouIntervals(
        mean=percentile_interval(mean_over_classes(iou_bk)),
        classes=tuple(percentile_interval(values_b) for values_b in iou_bk.T),
    )


def mean_over_classes(values_bk: Floats) -> Floats:
    """The mean (B,) over the classes that have a value."""
    present = np.isfinite(values_bk)
    return ratio(np.where(present, values_bk, 0.0).sum(axis=1), present.sum(axis=1))


def ratio(above: Floats, below: NDArray[np.generic]) -> Floats:
    """One by the other; NaN where the other is not above 0."""
    shares: Floats = np.divide(
        above, below, out=np.full(above.shape, np.nan), where=np.asarray(below) > 0
    )
    return shares
