"""Connected components of a region, by runs of pixels in rows. numpy only.

Legend: H and W pixels; R runs, in reading order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def components(region_hw: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number the parts of a region that hang together, corners included: 1, 2, ...; 0 elsewhere.

    Parts are numbered by their first pixel in reading order. Runs of adjacent rows that touch are
    joined, each taking the least number among what it touches until nothing changes. Source: He et
    al. 2008, "A Run-Based Two-Scan Labeling Algorithm".
    """
    height, width = region_hw.shape
    edges = np.diff(np.pad(region_hw, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row_r, start_r = np.nonzero(edges == 1)
    end_r = np.nonzero(edges == -1)[1]
    first, second = _touching(row_r, start_r, end_r, height)
    roots = _joined(len(row_r), first, second)
    _, number_r = np.unique(roots, return_inverse=True)
    marks = np.zeros((height, width + 1), np.int64)
    np.add.at(marks, (row_r, start_r), number_r + 1)
    np.add.at(marks, (row_r, end_r), -(number_r + 1))
    numbers: NDArray[np.int64] = marks.cumsum(axis=1)[:, :width]
    return numbers


def _touching(row_r: Ints, start_r: Ints, end_r: Ints, height: int) -> tuple[Ints, Ints]:
    """The pairs of runs of adjacent rows that share a side or a corner."""
    # A run [start, end) touches those of the next row with start <= its end and end >= its start.
    span = int(end_r.max(initial=0)) + 2
    low = np.searchsorted(row_r * span + end_r, (row_r + 1) * span + start_r, side="left")
    high = np.searchsorted(row_r * span + start_r, (row_r + 1) * span + end_r, side="right")
    high = np.where(row_r + 1 < height, high, low)
    counts = np.maximum(high - low, 0)
    first = np.repeat(np.arange(len(row_r)), counts)
    offsets = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
    return first, np.repeat(low, counts) + offsets


def _joined(count: int, first: Ints, second: Ints) -> Ints:
    """The least run that each run hangs together with."""
    roots = np.arange(count)
    while True:
        before = roots.copy()
        least = np.minimum(roots[first], roots[second])
        # A run's old root learns it as well, so that whole parts are joined at once.
        for ends in (first, second, roots[first], roots[second]):
            np.minimum.at(roots, ends, least)
        roots = roots[roots]
        if np.array_equal(roots, before):
            return roots
