"""The confusion matrix of one image, and its normal forms. numpy only.

Legend: K classes, H and W pixels; row = target, column = prediction.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from automl.records import IGNORE

Labels = NDArray[np.integer]


def count_confusion(pred_hw: Labels, target_hw: Labels, num_classes: int) -> NDArray[np.int64]:
    """Count pixels by class: int64 (K, K); pixels with target 255 are left out.

    Matrices of several images add up to that of all. Raises ValueError where the shapes differ or
    a label is not a class.
    """
    if pred_hw.shape != target_hw.shape:
        raise ValueError(
            f"prediction and target must have one shape, got {pred_hw.shape} and {target_hw.shape}"
        )
    known = target_hw != IGNORE
    target = target_hw[known].astype(np.int64)
    pred = pred_hw[known].astype(np.int64)
    for name, labels in (("target", target), ("prediction", pred)):
        if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(
                f"{name} labels must be 0 to {num_classes - 1} (or {IGNORE} to ignore a target), "
                f"got {labels.min()} to {labels.max()}"
            )
    cells = np.bincount(target * num_classes + pred, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def normalised_rows(confusion: ArrayLike) -> NDArray[np.float64]:
    """What each class was taken for, as shares of its own pixels; a class without any has zeros.

    The diagonal is the recall of the classes.
    """
    counts: NDArray[np.float64] = np.asarray(confusion, dtype=np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(
        counts, totals, out=np.zeros_like(counts), where=totals > 0
    )
    return shares
