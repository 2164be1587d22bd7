"""Mixup: images faded into each other; the loss is that of both masks, mixed alike.

Source: Zhang et al. 2018, "mixup" (arXiv:1710.09412), eq. 1, with lambda of Beta(0.2, 0.2), within
the 0.1 to 0.4 that its section 3.1 found to help. A pixel of two images has two labels. The loss
`lambda * L(first) + (1 - lambda) * L(second)` is the same as one of mixed labels for cross entropy,
and has a meaning for every loss, of regions, too (`training/steps.py`).
"""

from __future__ import annotations

import numpy as np

from automl.data.mixing.sample import Mix, Sample

ALPHA = 0.2


def mixup_share(rng: np.random.Generator) -> float:
    """Lambda: what a sample keeps of itself, the same for all samples of a batch."""
    return float(rng.beta(ALPHA, ALPHA))


def mixup(share: float) -> Mix:
    """Fade partners in, images in steps of whole values."""

    def mix(own: Sample, partner: Sample, _rng: np.random.Generator) -> Sample:
        mixed_hwc = share * own.image_hwc + (1 - share) * partner.image_hwc
        return Sample(np.rint(mixed_hwc).astype(np.uint8), own.mask_hw, partner.mask_hw)

    return mix
