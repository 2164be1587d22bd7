"""Copy-paste: objects of the partner at their place, those of rare classes first.

Source: Ghiasi et al. 2021, "Simple Copy-Paste" (arXiv:2012.07177): a random subset of the objects,
composed without blending, which they found to do as well. Masks have no instances, so an object is
a connected region of one class. The class that most images have (the ground, the sky) is not
pasted. All that is pasted covers a quarter of the picture at most, so that a rare scratch comes
before a building.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from automl.data.mixing.sample import Sample, UInt8, pasted
from automl.records import IGNORE

#: Smaller regions are crumbs of resizing, not objects; in pixels.
_SMALLEST = 9
#: How often an object is taken, and what all together may cover.
_TAKEN_SHARE, _LARGEST_SHARE = 0.5, 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class _Regions:
    """The connected regions of a class, 8 neighbours a pixel: 0 is all that is not of it."""

    label: int
    numbers_hw: npt.NDArray[np.int32]
    areas: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class CopyPaste:
    """Pastes objects; `classes` are those that may be pasted, the rarest first."""

    classes: tuple[int, ...]

    def __call__(self, own: Sample, partner: Sample, rng: np.random.Generator) -> Sample:
        """Paste some of the partner's objects: one at least where there is one that fits."""
        regions = _regions(partner.mask_hw, self.classes)
        chosen = self._chosen(regions, partner.mask_hw.size, rng)
        chosen_hw = np.zeros(partner.mask_hw.shape, np.bool_)
        for of_class in regions:
            taken = np.zeros(len(of_class.areas), np.bool_)
            taken[chosen.get(of_class.label, [])] = True
            if taken.any():
                chosen_hw |= taken[of_class.numbers_hw]
        return pasted(own, partner, chosen_hw)

    def _chosen(
        self, regions: Sequence[_Regions], pixels: int, rng: np.random.Generator
    ) -> dict[int, list[int]]:
        """The numbers of the regions to paste, by class."""
        room = _LARGEST_SHARE * pixels
        chosen: dict[int, list[int]] = {}
        spare: tuple[int, int] | None = None
        for of_class in regions:
            for number, area in enumerate(of_class.areas[1:].tolist(), start=1):
                if not _SMALLEST <= area <= room:
                    continue
                if rng.random() < _TAKEN_SHARE:
                    chosen.setdefault(of_class.label, []).append(number)
                    room -= area
                elif spare is None:
                    spare = of_class.label, number
        if not chosen and spare is not None:
            chosen[spare[0]] = [spare[1]]
        return chosen


def pasted_classes(present: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """The classes that may be pasted, rarest first, of whether images (rows) have classes.

    All but the one that most images have; of several the first.
    """
    images_k = present.sum(axis=0)
    order = np.argsort(images_k, kind="stable")
    commonest = int(np.argmax(images_k)) if len(images_k) else -1
    return tuple(int(label) for label in order if images_k[label] > 0 and label != commonest)


def _regions(mask_hw: UInt8, classes: tuple[int, ...]) -> list[_Regions]:
    """The connected regions of each class that occurs, in the order of the classes."""
    pixels_k = np.bincount(mask_hw.ravel(), minlength=IGNORE + 1)
    found = []
    for label in classes:
        if pixels_k[label]:
            of_class_hw = (mask_hw == label).view(np.uint8)
            _, numbers_hw, sizes, _ = cv2.connectedComponentsWithStats(of_class_hw, connectivity=8)
            areas = sizes[:, cv2.CC_STAT_AREA]
            found.append(_Regions(label=label, numbers_hw=numbers_hw, areas=areas))
    return found
