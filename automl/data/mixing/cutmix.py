"""CutMix: a box of the partner, the same for all samples of a batch.

Source: Yun et al. 2019, "CutMix" (arXiv:1905.04899), eq. 2 and 3, with lambda of Beta(1, 1).
"""

from __future__ import annotations

import numpy as np

from automl.data.mixing.sample import Mix, Sample


def cutmix_box(rng: np.random.Generator, size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns to paste: an area share drawn evenly, cut off at the picture's edges."""
    share = float(np.sqrt(1.0 - rng.random()))
    spans = []
    for side in size:
        centre, half = int(rng.integers(side)), round(side * share) // 2
        spans.append(slice(max(0, centre - half), min(side, centre + half)))
    return spans[0], spans[1]


def cutmix(rng: np.random.Generator, size: tuple[int, int]) -> Mix:
    """Draw the box of a batch."""
    box = cutmix_box(rng, size)

    def mix(own: Sample, partner: Sample, _rng: np.random.Generator) -> Sample:
        image_hwc, mask_hw = own.image_hwc.copy(), own.mask_hw.copy()
        image_hwc[box] = partner.image_hwc[box]
        mask_hw[box] = partner.mask_hw[box]
        return Sample(image_hwc, mask_hw)

    return mix
