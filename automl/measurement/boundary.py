"""Boundary F1: how well the outlines of the classes are met. numpy only.

Legend: K classes, H and W pixels. Precision is the share of a class's predicted outline that lies
within a tolerance of its true one, recall the other way round, F1 their harmonic mean, for each
class of each image; a class's score is the mean over the images. Source: Csurka et al. 2013, "What
is a good evaluation measure for semantic segmentation?", section 3.2; there the tolerance is 0.75 %
of the image's diagonal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from automl.measurement.confusion import Labels
from automl.measurement.outlines import Region, distances_to, inner_outline
from automl.records import IGNORE


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an outline may be off: so many pixels, or a share of the image's diagonal."""

    value: float
    unit: str

    def __post_init__(self) -> None:
        if self.unit not in ("pixels", "diagonal"):
            raise ValueError(f"the unit is pixels or diagonal, got {self.unit!r}")
        if not (math.isfinite(self.value) and self.value >= 0):
            raise ValueError(f"a tolerance is 0 or more, got {self.value}")

    def pixels(self, size: tuple[int, int]) -> float:
        """The tolerance in an image of (height, width)."""
        return self.value * math.hypot(*size) if self.unit == "diagonal" else self.value

    def text(self) -> str:
        """The tolerance in words."""
        if self.unit == "diagonal":
            return f"{self.value:.4g} of the diagonal"
        return f"{self.value:g} pixels"


DEFAULT_TOLERANCE = Tolerance(0.0075, "diagonal")


def boundary_f1(
    pred_hw: Labels, target_hw: Labels, num_classes: int, tolerance: Tolerance
) -> NDArray[np.float64]:
    """F1 of each class in one image: float64 (K,), NaN for a class in neither of the two.

    A class in only one of the two gets 0, also where it fills the image and so has no outline; one
    without an outline in either gets 1 where it has the same pixels in both, else 0. Pixels with
    target 255 belong to no class, whatever is predicted there.
    """
    size = (target_hw.shape[0], target_hw.shape[1])
    within = tolerance.pixels(size)
    known_hw = target_hw != IGNORE
    scores = np.full(num_classes, np.nan)
    for label in range(num_classes):
        pred, target = (pred_hw == label) & known_hw, (target_hw == label) & known_hw
        if pred.any() and target.any():
            scores[label] = _f1(pred, target, known_hw, within)
        elif pred.any() or target.any():
            scores[label] = 0.0
    return scores


def _f1(pred_hw: Region, target_hw: Region, known_hw: Region, within: float) -> float:
    """F1 of the outlines of two regions, both of some pixel."""
    pred, target = inner_outline(pred_hw, known_hw), inner_outline(target_hw, known_hw)
    if not pred.any() and not target.any():
        return float(np.array_equal(pred_hw, target_hw))
    if not pred.any() or not target.any():
        return 0.0
    precision = float((distances_to(pred, target) <= within).mean())
    recall = float((distances_to(target, pred) <= within).mean())
    both = precision + recall
    return 2 * precision * recall / both if both else 0.0
