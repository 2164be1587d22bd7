"""Which pixels lie near a boundary between labels.

A band of labels costs a few passes over the masks, whatever the number of classes, on the device
where they are, and its pixels' weights add up over pieces and ranks. The distance maps of a
boundary loss (Kervadec et al. 2019, arXiv:1812.07032) cost two distance transforms for each class
of each image, on a CPU, and those classes that an image has many of are what makes them dear.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from automl.records import IGNORE

#: Width of the band on either side, as a share of the image's diagonal.
#: Source: Cheng et al. 2021 (arXiv:2103.16562), "Boundary IoU", section 5.
BAND_SHARE = 0.02


def near_boundary(target_nhw: Tensor) -> Tensor:
    """Whether another label lies within the band around a pixel (N, H, W); not if ignored.

    The band is a square of 2 % of the image's diagonal to each side, at least one pixel. Between a
    label and pixels that are ignored there is no boundary.
    """
    height, width = target_nhw.shape[1:]
    radius = band_radius(height, width)
    border_nhw = torch.zeros_like(target_nhw, dtype=torch.bool)
    for dim in (1, 2):
        _mark_changes(target_nhw, border_nhw, dim)
    # A pixel that touches the boundary is in the band; the box reaches radius - 1 beyond it.
    near_nhw = border_nhw
    for dim in (1, 2):
        near_nhw = _any_within(near_nhw, radius - 1, dim)
    return near_nhw & (target_nhw != IGNORE)


def band_radius(height: int, width: int) -> int:
    """How many pixels on either side of a boundary count as near it."""
    return max(1, round(BAND_SHARE * math.hypot(height, width)))


def _mark_changes(target_nhw: Tensor, border_nhw: Tensor, dim: int) -> None:
    """Mark both pixels of each pair along `dim` with two different labels."""
    length = target_nhw.shape[dim] - 1
    before, after = target_nhw.narrow(dim, 0, length), target_nhw.narrow(dim, 1, length)
    changes = (before != after) & (before != IGNORE) & (after != IGNORE)
    border_nhw.narrow(dim, 0, length).logical_or_(changes)
    border_nhw.narrow(dim, 1, length).logical_or_(changes)


def _any_within(marked_nhw: Tensor, reach: int, dim: int) -> Tensor:
    """Whether any of the pixels at most `reach` away along `dim` is marked."""
    if reach == 0:
        return marked_nhw
    length = marked_nhw.shape[dim]
    before = marked_nhw.cumsum(dim, dtype=torch.int32)
    places = torch.arange(length, device=marked_nhw.device)
    upto = before.index_select(dim, (places + reach).clamp_max(length - 1))
    first = (places - reach - 1).clamp_min(0)
    beyond = before.index_select(dim, first)
    # Where the window starts at the edge, nothing lies before it.
    starts = (places - reach - 1 >= 0).view([-1 if axis == dim else 1 for axis in range(3)])
    return upto > beyond * starts
