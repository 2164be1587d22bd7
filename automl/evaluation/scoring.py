"""What a bundle gets right on each image of a split.

Legend: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from automl.bundle.inference import Predict
from automl.data.letterbox import Frame
from automl.evaluation.pictures import Picture, PictureSet
from automl.measurement.boundary import DEFAULT_TOLERANCE, Tolerance, boundary_f1
from automl.measurement.confusion import count_confusion
from automl.measurement.hausdorff import hausdorff_95
from automl.measurement.image_counts import ImageCounts
from automl.measurement.panoptic import component_instances, panoptic_counts

Floats = NDArray[np.float64]
UInt8 = NDArray[np.uint8]
#: Hears how many images of how many are done.
Progress = Callable[[int, int], None]

#: What is counted of each image beside its confusion matrix, on demand, in this order. The last is
#: made of connected components, which its name says.
EXTRAS = ("boundary_f1", "hausdorff_95", "panoptic_components")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which of `EXTRAS` to count, and how far a boundary may be off."""

    extras: tuple[str, ...] = ()
    tolerance: Tolerance = DEFAULT_TOLERANCE

    def __post_init__(self) -> None:
        unknown = [name for name in self.extras if name not in EXTRAS]
        if unknown:
            raise ValueError(f"extras are {', '.join(EXTRAS)}, got {unknown[0]!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageScores:
    """The counts of each image: `confusion_nkk`, and by name the extras.

    `boundary_f1` and `hausdorff_95` are (N, K), NaN where an image has no value of a class;
    `panoptic_components` is (N, K, 4), see `panoptic_counts`.
    """

    names: tuple[str, ...]
    confusion_nkk: NDArray[np.int64]
    extras: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def confusion_kk(self) -> NDArray[np.int64]:
        """The counts of all images."""
        total: NDArray[np.int64] = self.confusion_nkk.sum(axis=0)
        return total

    @property
    def counts(self) -> ImageCounts:
        """What the scores of the whole split are made of."""
        return ImageCounts.of(self.confusion_nkk, self.confusion_nkk.shape[1])

    @property
    def iou_nk(self) -> Floats:
        """The IoU of each class in each image; NaN for a class in neither mask."""
        hits = np.diagonal(self.confusion_nkk, axis1=1, axis2=2).astype(np.float64)
        either = self.confusion_nkk.sum(axis=1) + self.confusion_nkk.sum(axis=2) - hits
        iou_nk: Floats = np.divide(hits, either, out=np.full_like(hits, np.nan), where=either > 0)
        return iou_nk

    @property
    def miou_n(self) -> Floats:
        """The mean IoU of each image over the classes in it; NaN for one without a labelled pixel.

        Their mean is not the mIoU of the data set.
        """
        iou_nk = self.iou_nk
        present = np.isfinite(iou_nk)
        count = present.sum(axis=1)
        total = np.where(present, iou_nk, 0.0).sum(axis=1)
        mean_n: Floats = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
        return mean_n


def score_pictures(
    pictures: PictureSet,
    predict: Predict,
    num_classes: int,
    wanted: Wanted,
    hear: Progress,
) -> ImageScores:
    """Predict every picture and count; raises DataError for one that cannot be read."""
    confusion, found = [], []
    for index in range(len(pictures)):
        picture = pictures.read(index)
        mask_hw = predict(picture.image)
        confusion.append(count_confusion(mask_hw, picture.target, num_classes))
        found.append(_extras(mask_hw, picture.target, num_classes, wanted))
        hear(index + 1, len(pictures))
    return ImageScores(
        names=pictures.names,
        confusion_nkk=np.stack(confusion),
        extras={name: np.stack([each[name] for each in found]) for name in wanted.extras},
    )


def confusion_at(
    pictures: PictureSet, predict: Predict, num_classes: int, frame: Frame
) -> NDArray[np.int64]:
    """The counts (K, K) of all pictures, image and mask brought into a frame before."""
    total = np.zeros((num_classes, num_classes), np.int64)
    for index in range(len(pictures)):
        small: Picture = pictures.read(index).fitted(frame)
        total += count_confusion(predict(small.image), small.target, num_classes)
    return total


def _extras(
    mask_hw: UInt8, target_hw: UInt8, num_classes: int, wanted: Wanted
) -> dict[str, Floats]:
    return {name: _extra(name, mask_hw, target_hw, num_classes, wanted) for name in wanted.extras}


def _extra(name: str, mask_hw: UInt8, target_hw: UInt8, num_classes: int, wanted: Wanted) -> Floats:
    if name == "boundary_f1":
        return boundary_f1(mask_hw, target_hw, num_classes, wanted.tolerance)
    if name == "hausdorff_95":
        return hausdorff_95(mask_hw, target_hw, num_classes)
    mine, true = (component_instances(of, num_classes) for of in (mask_hw, target_hw))
    return panoptic_counts(mine, true, num_classes)
