"""Scores of a segmentation, all from one confusion matrix over a whole data set. numpy only.

Legend: K classes. A mean of per-image scores is another number: scores here come from the pixel
counts of all images together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationScores:
    """Shares from 0 to 1.

    `iou` and `dice_per_class` have one entry a class: None for a class that occurs neither in
    the targets nor in the predictions, which the means leave out.
    """

    miou: float
    dice: float
    pixel_accuracy: float
    iou: tuple[float | None, ...]
    dice_per_class: tuple[float | None, ...]


def scores(confusion: ArrayLike) -> SegmentationScores:
    """Score a confusion matrix (K, K) whose rows are targets.

    IoU = TP / (TP + FP + FN); Dice = 2 TP / (2 TP + FP + FN); pixel accuracy = sum TP / sum.
    Sources: Everingham et al. 2010 (IoU over a whole data set); Dice 1945. Raises ValueError
    where the matrix is not square or counts no pixel.
    """
    counts: NDArray[np.float64] = np.asarray(confusion, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"a confusion matrix is square, got shape {counts.shape}")
    total = counts.sum()
    if total <= 0:
        raise ValueError("there is nothing to score: no pixel has a label")
    hits = np.diag(counts)
    both = counts.sum(axis=0) + counts.sum(axis=1)
    occurs = both > 0
    iou = hits[occurs] / (both - hits)[occurs]
    dice = 2 * hits[occurs] / both[occurs]
    return SegmentationScores(
        miou=float(iou.mean()),
        dice=float(dice.mean()),
        pixel_accuracy=float(hits.sum() / total),
        iou=_spread(iou, occurs),
        dice_per_class=_spread(dice, occurs),
    )


def _spread(values: NDArray[np.float64], occurs: NDArray[np.bool_]) -> tuple[float | None, ...]:
    """Put the values of the classes that occur back in their places."""
    places = iter(values.tolist())
    return tuple(next(places) if present else None for present in occurs)
