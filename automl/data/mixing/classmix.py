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
    labels = np.unique(partner.mask_hw)
    labels = labels[labels != IGNORE]
    chosen = rng.permutation(labels)[: len(labels) // 2]
    return pasted(own, partner, np.isin(partner.mask_hw, chosen))
