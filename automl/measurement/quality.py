"""The confusion matrix of tensors, on the device where they are.

Legend: N batch, K classes, H and W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from automl.measurement.scores import SegmentationScores, scores
from automl.records import IGNORE

__all__ = ["SegmentationScores", "confusion_matrix", "scores"]


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


def _check_labels(name: str, labels: Tensor, num_classes: int) -> None:
    if labels.numel() == 0:
        return
    low, high = (int(value) for value in labels.aminmax())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"{name} labels must be 0 to {num_classes - 1} (or {IGNORE} to ignore a target), "
            f"got {low} to {high}"
        )
