"""Copy-paste: objects of the partner at their place, those of rare classes first.

Source: Ghiasi et al. 2021, "Simple Copy-Paste" (arXiv:2012.07177): a random subset of the objects,
composed without blending, which they found to do as well. Masks have no instances, so an object is
a connected region of one class. The class that most images have (the ground, the sky) is not
pasted. All that is pasted covers a quarter of the picture at most, so that a rare scratch comes
before a building.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from automl.data.mixing.sample import Bool, Sample, UInt8, pasted

#: Smaller regions are crumbs of resizing, not objects; in pixels.
_SMALLEST = 9
#: How often an object is taken, and what all together may cover.
_TAKEN_SHARE, _LARGEST_SHARE = 0.5, 0.25


@dataclass(frozen=True, slots=True)
class CopyPaste:
    """Pastes objects; `classes` are those that may be pasted, the rarest first."""

    classes: tuple[int, ...]

    def __call__(self, own: Sample, partner: Sample, rng: np.random.Generator) -> Sample:
        """Paste some of the partner's objects: one at least where there is one that fits."""
        chosen_hw = np.zeros(own.mask_hw.shape, np.bool_)
        room = _LARGEST_SHARE * chosen_hw.size
        spare: Bool | None = None
        for object_hw in _objects(partner.mask_hw, self.classes):
            area = int(object_hw.sum())
            if area > room:
                continue
            if rng.random() < _TAKEN_SHARE:
                chosen_hw |= object_hw
                room -= area
            elif spare is None:
                spare = object_hw
        if not chosen_hw.any() and spare is not None:
            chosen_hw = spare
        return pasted(own, partner, chosen_hw)


def pasted_classes(present: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """The classes that may be pasted, rarest first, of whether images (rows) have classes.

    All but the one that most images have; of several the first.
    """
    images_k = present.sum(axis=0)
    order = np.argsort(images_k, kind="stable")
    commonest = int(np.argmax(images_k)) if len(images_k) else -1
    return tuple(int(label) for label in order if images_k[label] > 0 and label != commonest)


def _objects(mask_hw: UInt8, classes: tuple[int, ...]) -> Iterator[Bool]:
    """The connected regions of each class in turn, 8 neighbours a pixel."""
    for label in classes:
        of_class_hw = (mask_hw == label).astype(np.uint8)
        if not of_class_hw.any():
            continue
        count, regions_hw, numbers, _ = cv2.connectedComponentsWithStats(
            of_class_hw, connectivity=8
        )
        for region in range(1, count):
            if numbers[region, cv2.CC_STAT_AREA] >= _SMALLEST:
                yield regions_hw == region
