"""Outlines of regions, and exact distances between them. numpy only.

Legend: H and W pixels; P pixels of an outline, C columns that hold one. Distances are Euclidean,
between centres of pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Region = NDArray[np.bool_]

#: Distances that are held at once, at 8 bytes each.
_AT_ONCE = 1 << 20


def inner_outline(region_hw: Region, known_hw: Region) -> Region:
    """The pixels of a region with one of their four neighbours in another region.

    Neither the image's border nor an ignored neighbour makes an outline: what lies behind is not
    known.
    """
    return region_hw & _beside(known_hw & ~region_hw, outside=False)


def closed_outline(region_hw: Region) -> Region:
    """The pixels of a region with one of their four neighbours outside of it.

    The image's border is outside, so that a region always has an outline.
    """
    return region_hw & _beside(~region_hw, outside=True)


def distances_to(points_hw: Region, outline_hw: Region) -> NDArray[np.float64]:
    """The distance of each of the points, in reading order, to the nearest pixel of `outline_hw`.

    The square of it is the minimum, over columns, of the squared distance along the row plus that
    to the nearest pixel in that column. Source: Felzenszwalb and Huttenlocher 2012, "Distance
    Transforms of Sampled Functions", section 2.1; evaluated at the points alone. Raises ValueError
    where the outline is empty.
    """
    if not outline_hw.any():
        raise ValueError("there is no distance to an empty outline")
    columns = np.flatnonzero(outline_hw.any(axis=0))
    squared_hc = _rows_to_nearest(outline_hw[:, columns]) ** 2
    y_p, x_p = np.nonzero(points_hw)
    step = max(1, _AT_ONCE // len(columns))
    nearest = [
        _nearest_squared(y_p[at : at + step], x_p[at : at + step], columns, squared_hc)
        for at in range(0, len(y_p), step)
    ]
    found: NDArray[np.float64] = np.sqrt(np.concatenate([np.zeros(0, np.int64), *nearest]))
    return found


def _nearest_squared(
    y_p: NDArray[np.int64],
    x_p: NDArray[np.int64],
    columns: NDArray[np.int64],
    squared_hc: NDArray[np.int64],
) -> NDArray[np.int64]:
    along_pc = (x_p[:, None] - columns[None, :]) ** 2
    nearest: NDArray[np.int64] = (along_pc + squared_hc[y_p]).min(axis=1)
    return nearest


def _rows_to_nearest(outline_hc: Region) -> NDArray[np.int64]:
    """Rows to the nearest pixel in the same column, (H, C); every column holds one."""
    height = len(outline_hc)
    far = 2 * height
    rows_h1 = np.arange(height)[:, None]
    above = np.maximum.accumulate(np.where(outline_hc, rows_h1, -far), axis=0)
    below = np.minimum.accumulate(np.where(outline_hc, rows_h1, far)[::-1], axis=0)[::-1]
    return np.minimum(rows_h1 - above, below - rows_h1)


def _beside(region_hw: Region, *, outside: bool) -> Region:
    """The pixels that have one of their four neighbours in a region."""
    padded = np.pad(region_hw, 1, constant_values=outside)
    return padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
