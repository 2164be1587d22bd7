"""Segmentation losses that leave pixels labelled `IGNORE` out.

Shapes: `logits_nkhw` (N, K, H, W) floats before the softmax, `target_nhw` (N, H, W) int64 labels
0 to K-1 or `IGNORE`, `weights_k` (K,) non-negative. Half precisions are computed in float32;
float64 stays float64. A batch whose every pixel is ignored gives 0 with a gradient of 0.

Across ranks each loss is that of the global batch, the same on every rank, though it is no mean of
the ranks' own losses: the sums that it is made of are summed over the ranks. Gradients are scaled
so that their mean over the ranks, which is what DDP takes, is the gradient of the global loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from automl.records import IGNORE
from automl.training.ranks import sum_over_ranks, world_size

ClassWeights = Literal["none", "balanced"]


def dice_loss(
    logits_nkhw: Tensor, target_nhw: Tensor, *, class_weights: Tensor | None = None
) -> Tensor:
    """One minus the weighted mean of the soft Dice scores of the classes present in the target.

    Over all labelled pixels i of the batch, with p the softmax and g the one-hot target:
    `dice_k = 2 sum_i p_ik g_ik / (sum_i p_ik + sum_i g_ik)`.
    Source: Milletari et al. 2016 (arXiv:1606.04797), section 3, with the sums of Sudre et al. 2017
    (arXiv:1707.03237) in the denominator, taken per class.
    """
    return _dice(_LabelledPixels(logits_nkhw, target_nhw), class_weights)


def focal_loss(
    logits_nkhw: Tensor, target_nhw: Tensor, gamma: float, class_weights: Tensor | None = None
) -> Tensor:
    """The weighted mean over labelled pixels of `-(1 - p_t)^gamma log p_t`.

    The mean divides by the sum of the pixels' weights, so that `gamma` 0 is exactly the weighted
    cross entropy. Source: Lin et al. 2017 (arXiv:1708.02002), eq. 5.
    """
    return _focal(_LabelledPixels(logits_nkhw, target_nhw), gamma, class_weights)


def class_weights_from(shares: Sequence[float], *, kind: ClassWeights) -> Tensor | None:
    """Class weights from each class's share of the labelled training pixels.

    `balanced` is `w_k = share_k^-1/2 / sum_j share_j^1/2`: rare classes weigh more, and a pixel
    drawn at random weighs 1 on average. A class without pixels weighs 0, as it never occurs.
    `none` gives None. Raises ValueError where no class has a positive share.
    """
    if kind == "none":
        return None
    share_k = torch.tensor(shares, dtype=torch.float64)
    if not bool((share_k > 0).any()) or bool((share_k < 0).any()):
        raise ValueError(f"shares must be non-negative with one positive, got {tuple(shares)}")
    raw_k = torch.where(share_k > 0, share_k.clamp_min(1e-12).rsqrt(), 0.0)
    return (raw_k / (raw_k * share_k).sum() * share_k.sum()).float()


class CombinedLoss(nn.Module):
    """`alpha * dice + (1 - alpha) * focal(gamma)`, with optional class weights (K,).

    Raises ValueError for `alpha` outside [0, 1], a negative `gamma` or negative weights.
    """

    class_weights: Tensor | None

    def __init__(self, alpha: float, gamma: float, class_weights: Tensor | None = None) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be within 0 to 1, got {alpha}")
        if not gamma >= 0:
            raise ValueError(f"gamma must be at least 0, got {gamma}")
        if class_weights is not None and bool((class_weights < 0).any()):
            raise ValueError(f"class weights must not be negative, got {class_weights.tolist()}")
        self.alpha = alpha
        self.gamma = gamma
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits_nkhw: Tensor, target_nhw: Tensor) -> Tensor:
        """The loss of one batch, a scalar."""
        pixels = _LabelledPixels(logits_nkhw, target_nhw)
        parts = []
        if self.alpha > 0:
            parts.append(self.alpha * _dice(pixels, self.class_weights))
        if self.alpha < 1:
            parts.append((1 - self.alpha) * _focal(pixels, self.gamma, self.class_weights))
        return torch.stack(parts).sum()

    def weight(self, target_nhw: Tensor) -> Tensor:
        """The sum of the pixels' weights, a scalar: what the focal part divides by."""
        labelled_nhw = target_nhw != IGNORE
        if self.class_weights is None:
            return labelled_nhw.sum().float()
        return (self.class_weights[torch.where(labelled_nhw, target_nhw, 0)] * labelled_nhw).sum()


class _LabelledPixels:
    """What both losses read: log-probabilities, and where and what the labels are."""

    def __init__(self, logits_nkhw: Tensor, target_nhw: Tensor) -> None:
        if logits_nkhw.dtype in (torch.float16, torch.bfloat16):
            logits_nkhw = logits_nkhw.float()
        self.num_classes = logits_nkhw.shape[1]
        self.labelled_nhw = target_nhw != IGNORE
        self.label_nhw = torch.where(self.labelled_nhw, target_nhw, 0)
        self.log_p_nkhw = F.log_softmax(logits_nkhw, dim=1)
        self.log_p_true_nhw = self.log_p_nkhw.gather(1, self.label_nhw.unsqueeze(1)).squeeze(1)

    def sums_by_class(self, values_nhw: Tensor) -> Tensor:
        """For each class the sum (K,) of `values_nhw` over the pixels labelled so."""
        values_nhw = values_nhw * self.labelled_nhw
        sums = _class_sums_by_mask if values_nhw.is_cuda else _class_sums_by_index
        return sums(values_nhw, self.label_nhw, self.num_classes)


def _class_sums_by_index(values_nhw: Tensor, label_nhw: Tensor, num_classes: int) -> Tensor:
    """Fast on a CPU, where additions into one cell come one after another anyway."""
    sums_k = values_nhw.new_zeros(num_classes)
    return sums_k.index_add(0, label_nhw.reshape(-1), values_nhw.reshape(-1))


def _class_sums_by_mask(values_nhw: Tensor, label_nhw: Tensor, num_classes: int) -> Tensor:
    """For a GPU: no contended atomic additions, hence also the same sum on each run."""
    classes_k = torch.arange(num_classes, device=label_nhw.device).view(1, -1, 1, 1)
    mask_nkhw = label_nhw.unsqueeze(1) == classes_k
    return (values_nhw.unsqueeze(1) * mask_nkhw).sum((0, 2, 3))


def _dice(pixels: _LabelledPixels, weights_k: Tensor | None) -> Tensor:
    probability_nkhw = pixels.log_p_nkhw.exp()
    predicted_k = (probability_nkhw * pixels.labelled_nhw.unsqueeze(1)).sum((0, 2, 3))
    overlap_k = pixels.sums_by_class(pixels.log_p_true_nhw.exp())
    labelled_k = pixels.sums_by_class(torch.ones_like(pixels.log_p_true_nhw))
    predicted_k, overlap_k, labelled_k = _global(torch.stack([predicted_k, overlap_k, labelled_k]))
    present_k = labelled_k > 0
    weight_k = present_k.to(overlap_k.dtype)
    if weights_k is not None:
        weight_k = weight_k * weights_k.to(overlap_k.dtype)
    # An absent class weighs nothing; this only spares it a 0 / 0.
    size_k = torch.where(present_k, predicted_k + labelled_k, 1.0)
    lost_k = weight_k * (1 - 2 * overlap_k / size_k)
    return torch.div(lost_k.sum(), _at_least_tiny(weight_k.sum()))


def _focal(pixels: _LabelledPixels, gamma: float, weights_k: Tensor | None) -> Tensor:
    log_p_nhw = pixels.log_p_true_nhw
    # expm1 keeps 1 - p accurate near p = 1. There the power's slope is infinite for gamma < 1:
    # the clamp makes it 0, which is the limit of the loss's own slope.
    tiny = torch.finfo(log_p_nhw.dtype).tiny
    missing_nhw = (-torch.expm1(log_p_nhw)).clamp_min(tiny)
    focal_nhw = -missing_nhw.pow(gamma) * log_p_nhw
    weight_nhw = pixels.labelled_nhw.to(log_p_nhw.dtype)
    if weights_k is not None:
        weight_nhw = weight_nhw * weights_k.to(log_p_nhw.dtype)[pixels.label_nhw]
    total, weight = _global(torch.stack([(weight_nhw * focal_nhw).sum(), weight_nhw.sum()]))
    return torch.div(total, _at_least_tiny(weight))


def _global(local_sums: Tensor) -> Tensor:
    """Sums over all ranks, with this rank's share of the gradient (see the module's docstring)."""
    ranks = world_size()
    if ranks == 1:
        return local_sums
    scaled = ranks * local_sums
    return scaled + (sum_over_ranks(local_sums) - scaled.detach())


def _at_least_tiny(weight: Tensor) -> Tensor:
    return weight.clamp_min(torch.finfo(weight.dtype).tiny)
