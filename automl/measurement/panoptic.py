"""Panoptic quality: how well instances are found and how well those found are outlined. numpy only.

Legend: K classes, H and W pixels. A predicted instance matches a true one of its class where their
IoU is above 0.5, which at most one can. PQ = sum of the IoUs of the matches / (TP + FP/2 + FN/2).
Source: Kirillov et al. 2019, "Panoptic Segmentation", section 4.

Where masks hold classes but no instances, `component_instances` takes connected parts for them:
such scores are called `instances: components`, since things that touch count as one there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from automl.measurement.components import components
from automl.measurement.confusion import Labels
from automl.records import IGNORE

Instances = NDArray[np.integer]

_MATCH = 0.5


@dataclass(frozen=True, slots=True)
class Segments:
    """Classes (H, W) and instances (H, W): pixels of one class and one number are one instance."""

    labels_hw: Labels
    instances_hw: Instances

    def __post_init__(self) -> None:
        if self.labels_hw.shape != self.instances_hw.shape:
            raise ValueError(
                f"labels and instances must have one shape, got {self.labels_hw.shape} and "
                f"{self.instances_hw.shape}"
            )


def component_instances(labels_hw: Labels, num_classes: int) -> Segments:
    """Take the connected parts of each class for its instances; by sides and corners."""
    instances = np.zeros(labels_hw.shape, np.int64)
    for label in range(num_classes):
        instances += components(labels_hw == label)
    return Segments(labels_hw, instances)


def panoptic_counts(pred: Segments, target: Segments, num_classes: int) -> NDArray[np.float64]:
    """Sum of matched IoUs, TP, FP and FN of each class in one image: float64 (K, 4).

    Counts of several images add up. Ignored pixels (target 255) belong to no true instance and
    play no part in an IoU; a predicted instance without a match of which more than half is ignored
    is no false positive (the source's rules for void labels).
    """
    known_hw = target.labels_hw != IGNORE
    counts = np.zeros((num_classes, 4))
    for label in range(num_classes):
        counts[label] = _class_counts(_numbers(pred, label), _numbers(target, label), known_hw)
    return counts


def panoptic_quality(counts_k4: NDArray[np.float64]) -> NDArray[np.float64]:
    """PQ of each class from its counts: float64 (K,), NaN for a class without any instance."""
    iou, hits, false, missed = np.moveaxis(counts_k4, -1, 0)
    instances = hits + (false + missed) / 2
    quality: NDArray[np.float64] = np.divide(
        iou, instances, out=np.full_like(iou, np.nan), where=instances > 0
    )
    return quality


def _numbers(segments: Segments, label: int) -> NDArray[np.int64]:
    """Instances of a class as 1, 2, ... in any order; 0 elsewhere."""
    own = segments.labels_hw == label
    numbers = np.zeros(own.shape, np.int64)
    numbers[own] = np.unique(segments.instances_hw[own], return_inverse=True)[1].ravel() + 1
    return numbers


def _class_counts(
    mine_hw: NDArray[np.int64], true_hw: NDArray[np.int64], known_hw: NDArray[np.bool_]
) -> tuple[float, int, int, int]:
    num_mine, num_true = int(mine_hw.max(initial=0)), int(true_hw.max(initial=0))
    cells = np.bincount(
        (mine_hw * (num_true + 1) + true_hw)[known_hw], minlength=(num_mine + 1) * (num_true + 1)
    ).reshape(num_mine + 1, num_true + 1)
    shared, known_m = cells[1:, 1:], cells[1:].sum(axis=1)
    either = known_m[:, None] + cells[:, 1:].sum(axis=0)[None, :] - shared
    iou = shared / np.maximum(either, 1)
    matched = iou > _MATCH
    hits = int(matched.sum())
    area_m = np.bincount(mine_hw.ravel(), minlength=num_mine + 1)[1:]
    judged_m = matched.any(axis=1) | (area_m - known_m <= _MATCH * area_m)
    return float(iou[matched].sum()), hits, int(judged_m.sum()) - hits, num_true - hits
