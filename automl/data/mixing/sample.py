"""One sample of a batch on its way through the mixes.

Shapes: H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sample:
    """An image (H, W, 3) and its mask (H, W); after mixup also the partner's mask."""

    image_hwc: UInt8
    mask_hw: UInt8
    second_hw: UInt8 | None = None


#: Gives a sample something of its partner; both stay as they are.
Mix = Callable[[Sample, Sample, np.random.Generator], Sample]


def pasted(own: Sample, partner: Sample, chosen_hw: Bool) -> Sample:
    """A sample with the chosen pixels of its partner, image and mask alike."""
    image_hwc, mask_hw = own.image_hwc.copy(), own.mask_hw.copy()
    np.copyto(image_hwc, partner.image_hwc, where=chosen_hw[..., None])
    np.copyto(mask_hw, partner.mask_hw, where=chosen_hw)
    return Sample(image_hwc, mask_hw)
