"""Scores of a segmentation, all from one confusion matrix over a whole data set.

Legend: N batch, K classes, H and W pixels. A mean of per-image scores is another number: scores
here come from the pixel counts of all images together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from automl.records import IGNORE


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


def confusion_matrix(pred_nhw: Tensor, target_nhw: Tensor, num_classes: int) -> Tensor:
    """Count pixels by class: row = target, column = prediction; int64 (K, K) on `pred`'s device.

    Both hold class indices, in any integer type and of one shape; pixels with target 255 are left
    out. Matrices of parts of a data set add up to that of the whole. Raises ValueError where the
    shapes differ or a label is not a class.
    """
    if pred_nhw.shape != target_nhw.shape:
        raise ValueError(
            f"prediction and target must have one shape, got {tuple(pred_nhw.shape)} "
            f"and {tuple(target_nhw.shape)}"
        )
    counted = target_nhw != IGNORE
    target = target_nhw[counted].long()
    pred = pred_nhw[counted].long()
    for name, labels in (("target", target), ("prediction", pred)):
        _check_labels(name, labels, num_classes)
    cells = torch.bincount(target * num_classes + pred, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


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


def _check_labels(name: str, labels: Tensor, num_classes: int) -> None:
    if labels.numel() == 0:
        return
    low, high = (int(value) for value in labels.aminmax())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"{name} labels must be 0 to {num_classes - 1} (or {IGNORE} to ignore a target), "
            f"got {low} to {high}"
        )


def _spread(values: NDArray[np.float64], occurs: NDArray[np.bool_]) -> tuple[float | None, ...]:
    """Put the values of the classes that occur back in their places."""
    places = iter(values.tolist())
    return tuple(next(places) if present else None for present in occurs)
