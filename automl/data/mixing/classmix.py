"""ClassMix: all pixels of half of the partner's classes.

Source: Olsson et al. 2021, "ClassMix" (arXiv:2007.07936), algorithm 1, with labels instead of
predictions. Of an odd number of classes the smaller half is taken, so a partner of one class, such
as an image without a defect, gives nothing.
"""

from __future__ import annotations

import numpy as np

from automl.data.mixing.sample import Sample, pasted
from automl.records import IGNORE


def classmix(own: Sample, partner: Sample, rng: np.random.Generator) -> Sample:
    """Paste half of the partner's classes, drawn for this sample."""
    pixels_k = np.bincount(partner.mask_hw.ravel(), minlength=IGNORE + 1)
    labels = np.flatnonzero(pixels_k[:IGNORE])
    chosen_k = np.zeros(IGNORE + 1, np.bool_)
    chosen_k[rng.permutation(labels)[: len(labels) // 2]] = True
    return pasted(own, partner, chosen_k[partner.mask_hw])
