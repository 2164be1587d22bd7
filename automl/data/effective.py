"""How many samples of a class count, where each further one tells less that is new."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

#: The one that Cui et al. take for their largest data sets, iNaturalist and ImageNet.
BETA = 0.999


def effective_number(samples_k: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`(1 - beta^n) / (1 - beta)` of each number n of samples, which need not be whole.

    Near n for small n, and 1000 at most. Source: Cui et al. 2019 (arXiv:1901.05555), eq. 2.
    """
    numbers: npt.NDArray[np.float64] = -np.expm1(samples_k * math.log(BETA)) / (1 - BETA)
    return numbers
