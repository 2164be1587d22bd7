"""Parts of a split that lie in one another: what a smaller one holds, a larger one holds, too."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import numpy.typing as npt

from automl.data.dataset import ArrowSplit
from automl.data.stratify import stratified_order
from automl.records import IGNORE

Rows = npt.NDArray[np.int64]


class Subsets:
    """The parts of a split, by their share; which images they hold depends on `seed` alone.

    Every class keeps its share of the images in each part, and none is left out of a part that has
    as many images as there are classes.
    """

    def __init__(self, split: ArrowSplit, seed: int) -> None:
        self._split = split
        self._seed = seed

    def rows(self, share: float, *, at_least: int) -> Rows:
        """The rows, ascending, of a share (above 0, at most 1), rounded up; all where it is 1."""
        length = len(self._split)
        # Rounded before, as 0.07 * 100 is a little more than 7.
        count = min(length, max(at_least, math.ceil(round(share * length, 9))))
        if count == length:
            return np.arange(length)
        return np.sort(self._order[:count])

    @cached_property
    def _order(self) -> Rows:
        classes_of = [self._classes(row) for row in range(len(self._split))]
        return np.asarray(stratified_order(classes_of, self._seed), dtype=np.int64)

    def _classes(self, row: int) -> frozenset[int]:
        counts = np.bincount(self._split.mask(row).ravel(), minlength=IGNORE + 1)
        return frozenset(np.flatnonzero(counts[:IGNORE]).tolist())
