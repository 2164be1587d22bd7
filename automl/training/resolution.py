"""Batches at a smaller size than that of their dataset.

Shapes: N batch, H and W pixels, h and w those wanted; `images_nhwc` uint8 RGB.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from automl.data.batching import Batch
from automl.fidelity import scaled_size


def scaled_batch(batch: Batch, size_share: float, device: torch.device) -> Batch:
    """A batch at a share of its height and width, on `device`; one at its full size as it is.

    Images are averaged over the pixels that fall together (bilinear, antialiased) and stay uint8;
    a mask takes the label nearest to the middle of each new pixel, so that none arises.
    """
    _, height, width = batch.masks_nhw.shape
    size = scaled_size((height, width), size_share)
    if size == (height, width):
        return batch
    images_nchw = batch.images_nhwc.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    images_nchw = F.interpolate(
        images_nchw, size=size, mode="bilinear", align_corners=False, antialias=True
    )
    images_nhwc = images_nchw.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    rows_h, columns_w = _nearest(height, size[0]), _nearest(width, size[1])

    def taken(masks_nhw: Tensor) -> Tensor:
        return masks_nhw[:, rows_h][:, :, columns_w].to(device, non_blocking=True)

    second_nhw = batch.second_masks_nhw
    return replace(
        batch,
        images_nhwc=images_nhwc.contiguous(),
        masks_nhw=taken(batch.masks_nhw),
        second_masks_nhw=None if second_nhw is None else taken(second_nhw),
    )


def _nearest(given: int, wanted: int) -> Tensor:
    """The pixel of a side of `given` that the middle of each of `wanted` pixels falls on."""
    return ((2 * torch.arange(wanted) + 1) * given).div(2 * wanted, rounding_mode="floor")
