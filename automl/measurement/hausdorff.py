"""The 95th-percentile Hausdorff distance of the classes' outlines, in pixels. numpy only.

Legend: K classes, H and W pixels. The greater of two 95th percentiles: of the distances from the
predicted outline to the true one, and back. Source: Huttenlocher et al. 1993, "Comparing Images
Using the Hausdorff Distance", section 3 (the ranked distance); the greater of the two directions
as in MONAI.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from automl.measurement.confusion import Labels
from automl.measurement.outlines import Region, closed_outline, distances_to
from automl.records import IGNORE

_PERCENTILE = 95.0


def hausdorff_95(pred_hw: Labels, target_hw: Labels, num_classes: int) -> NDArray[np.float64]:
    """The distance of each class in one image: float64 (K,), NaN for a class in neither of the two.

    A class in only one of the two has no distance. It counts as the image's diagonal, which no
    distance exceeds: left out, a class that is missed would be better than one that is found a bit
    off. (Source: Maier-Hein et al. 2024, "Metrics reloaded", on missing values.) Pixels with target
    255 belong to no class, whatever is predicted there.
    """
    known_hw = target_hw != IGNORE
    diagonal = math.hypot(*target_hw.shape)
    found = np.full(num_classes, np.nan)
    for label in range(num_classes):
        pred, target = (pred_hw == label) & known_hw, (target_hw == label) & known_hw
        if pred.any() and target.any():
            found[label] = _distance(closed_outline(pred), closed_outline(target))
        elif pred.any() or target.any():
            found[label] = diagonal
    return found


def _distance(pred_hw: Region, target_hw: Region) -> float:
    there = np.percentile(distances_to(pred_hw, target_hw), _PERCENTILE)
    back = np.percentile(distances_to(target_hw, pred_hw), _PERCENTILE)
    return float(max(there, back))
