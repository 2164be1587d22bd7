"""Losses of pixels: a weighted mean over them, or over the hardest of them."""

from __future__ import annotations

import torch
from torch import Tensor

from automl.records import IGNORE
from automl.training.losses.boundary import near_boundary
from automl.training.losses.labelled import LabelledPixels, at_least_tiny, global_sums
from automl.training.ranks import gather_over_ranks, sum_over_ranks

#: Pixels that OHEM keeps at the least, where so many are labelled.
LEAST_KEPT = 256


def focal(
    pixels: LabelledPixels, gamma: float, weights_k: Tensor | None, smoothing: float = 0.0
) -> Tensor:
    """The focal loss (N, H, W) of each pixel, times its class's weight; of ignored ones any.

    `f_t = -w_t (1 - p_t)^gamma log p_t`. Source: Lin et al. 2017 (arXiv:1708.02002), eq. 5. With
    `smoothing` s it is `(1 - s) f_t + s/K sum_k f_k`, as torch smooths the cross entropy. Source:
    Szegedy et al. 2016 (arXiv:1512.00567), section 7.
    """
    label_nhw = _focused(pixels.log_p_true_nhw, gamma)
    if weights_k is not None:
        label_nhw = weights_k.to(label_nhw.dtype)[pixels.label_nhw] * label_nhw
    if smoothing == 0:
        return label_nhw
    each_nkhw = _focused(pixels.log_p_nkhw, gamma)
    if weights_k is not None:
        each_nkhw = each_nkhw * weights_k.to(each_nkhw.dtype).view(1, -1, 1, 1)
    return (1 - smoothing) * label_nhw + smoothing * each_nkhw.mean(1)


def emphasis(target_nhw: Tensor, boundary_weight: float) -> Tensor:
    """What each pixel (N, H, W) counts beside its class's weight: 0 if ignored, else 1.

    Near a boundary between labels it is `1 + boundary_weight`. Source: Ronneberger et al. 2015
    (arXiv:1505.04597), eq. 2, with a band instead of the Gaussian; there `w_0` is 10.
    """
    labelled_nhw = (target_nhw != IGNORE).float()
    if boundary_weight == 0:
        return labelled_nhw
    return labelled_nhw + boundary_weight * near_boundary(target_nhw)


def weight_of_labels(target_nhw: Tensor, weights_k: Tensor | None) -> Tensor:
    """The weight (N, H, W) of the class that each pixel is labelled with; of ignored ones any."""
    if weights_k is None:
        return torch.ones_like(target_nhw, dtype=torch.float32)
    return weights_k[torch.where(target_nhw != IGNORE, target_nhw, 0)]


def hardest(pixels: LabelledPixels, share: float) -> Tensor:
    """Whether each pixel (N, H, W) is among the hardest: those with the least likely labels.

    They are the `share` of the labelled pixels of all ranks, rounded up, at least `LEAST_KEPT`
    where there are so many; of pixels as hard as the last one all.
    Source: Shrivastava et al. 2016 (arXiv:1604.03540), online hard example mining, with pixels in
    the place of regions.
    """
    # Likelier than a certain pixel, so that no ignored one comes before a labelled one.
    ease_nhw = torch.where(pixels.labelled_nhw, pixels.log_p_true_nhw.detach(), 1.0)
    ease_p = torch.cat(gather_over_ranks(ease_nhw.flatten()))
    labelled = sum_over_ranks(pixels.labelled_nhw.sum())
    # Less a little, as 0.07 * 100 is a little more than 7.
    kept = (share * labelled.double() - 1e-6).ceil().long().clamp_min(LEAST_KEPT)
    bound = ease_p.sort().values.gather(0, kept.minimum(labelled).clamp_min(1).view(1) - 1)
    return (ease_nhw <= bound) & pixels.labelled_nhw


def weighted_mean(lost_nhw: Tensor, counted_nhw: Tensor, weight_nhw: Tensor) -> Tensor:
    """`sum counted lost / sum weight`, over all ranks; 0 where nothing weighs."""
    lost, weight = global_sums(torch.stack([(counted_nhw * lost_nhw).sum(), weight_nhw.sum()]))
    return torch.div(lost, at_least_tiny(weight))


def _focused(log_p: Tensor, gamma: float) -> Tensor:
    """`-(1 - p)^gamma log p`, of log-probabilities of any shape."""
    # expm1 keeps 1 - p accurate near p = 1. There the power's slope is infinite for gamma < 1:
    # the clamp makes it 0, which is the limit of the loss's own slope.
    missing = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
    return -missing.pow(gamma) * log_p
