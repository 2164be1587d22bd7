"""Losses of regions: how much the predicted area of each class overlaps with the labelled one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from automl.training.losses.labelled import (
    LabelledPixels,
    at_least_tiny,
    global_sums,
    mean_over_present,
)
from automl.training.ranks import gather_over_ranks, global_rank

RegionLoss = Callable[[LabelledPixels, Tensor | None], Tensor]


def dice(pixels: LabelledPixels, weights_k: Tensor | None) -> Tensor:
    """One minus the weighted mean of the soft Dice scores of the classes present in the target.

    Over all labelled pixels i of the batch, with p the softmax and g the one-hot target:
    `dice_k = 2 sum_i p_ik g_ik / (sum_i p_ik + sum_i g_ik)`.
    Source: Milletari et al. 2016 (arXiv:1606.04797), section 3, with the sums of Sudre et al. 2017
    (arXiv:1707.03237) in the denominator, taken per class.
    """
    lost_k, labelled_k = _dice_lost(pixels)
    return mean_over_present(lost_k, labelled_k, weights_k)


def foreground_dice(pixels: LabelledPixels, weights_k: Tensor | None) -> Tensor:
    """`dice` of all classes but the first, the ground; of the ground in a batch with nothing else.

    So false positives cost something in a batch of images without a defect, too, where Dice of the
    foreground is 0 / 0. Two classes: Milletari et al. 2016, section 3.
    """
    lost_k, labelled_k = _dice_lost(pixels)
    foreground_k = torch.cat([torch.zeros_like(labelled_k[:1]), labelled_k[1:]])
    counted_k = torch.where(foreground_k.sum() > 0, foreground_k, labelled_k)
    return mean_over_present(lost_k, counted_k, weights_k)


def generalised_dice(pixels: LabelledPixels, weights_k: Tensor | None) -> Tensor:
    """One minus a Dice score whose sums run over all classes, each by its inverse squared area.

    `1 - 2 sum_k w_k sum_i p_ik g_ik / sum_k w_k (sum_i p_ik + sum_i g_ik)` with
    `w_k = (sum_i g_ik)^-2`, times the class's own weight where there are any, over the classes
    present in the target: an absent one would weigh infinitely.
    Source: Sudre et al. 2017 (arXiv:1707.03237), section 2, GDL.
    """
    overlap_k, size_k, labelled_k = _areas(pixels)
    present_k = labelled_k > 0
    # Of shares instead of pixels: the loss is the same, and no weight is close to 0.
    share_k = labelled_k / at_least_tiny(labelled_k.sum())
    weight_k = torch.where(present_k, share_k.clamp_min(1e-9), 1.0).pow(-2) * present_k
    if weights_k is not None:
        weight_k = weight_k * weights_k.to(weight_k.dtype)
    missed = (weight_k * (size_k - 2 * overlap_k)).sum()
    return torch.div(missed, at_least_tiny((weight_k * size_k).sum()))


def lovasz_softmax(pixels: LabelledPixels, weights_k: Tensor | None) -> Tensor:
    """The weighted mean, over the classes present, of the Lovász extension of the Jaccard loss.

    For each class the errors `|g_ik - p_ik|` of all labelled pixels of the batch, largest first,
    times the growth of the Jaccard loss `1 - IoU_k` as these pixels become wrong, one by one.
    Source: Berman et al. 2018 (arXiv:1705.08790), eq. 8, 9, 12 and algorithm 1, classes present.

    It sorts the batch once a class, which on a CPU can take longer than the network; across ranks
    each sorts the pixels of all.
    """
    is_label_kp = _by_class(pixels.labelled_as_nkhw())
    probability_kp = _by_class(pixels.log_p_nkhw.exp() * pixels.labelled_nhw.unsqueeze(1))
    # A pixel that is ignored has no error, and so no part in any sum.
    error_kp = (is_label_kp.to(probability_kp.dtype) - probability_kp).abs()
    errors_kp = _of_all_ranks(error_kp)
    labels_kp = torch.cat(_of_all_ranks(is_label_kp.to(torch.uint8)), 1)
    growth_kp = _jaccard_growth(torch.cat(errors_kp, 1), labels_kp)
    first = sum(part.shape[1] for part in errors_kp[: global_rank()])
    own_kp = growth_kp.narrow(1, first, error_kp.shape[1])
    lost_k = global_sums((error_kp * own_kp).sum(1))
    return mean_over_present(lost_k, labels_kp.sum(1), weights_k)


#: By their names in an experiment.
REGION_LOSSES: Mapping[str, RegionLoss] = MappingProxyType(
    {
        "dice": dice,
        "foreground_dice": foreground_dice,
        "generalised_dice": generalised_dice,
        "lovasz": lovasz_softmax,
    }
)


def _dice_lost(pixels: LabelledPixels) -> tuple[Tensor, Tensor]:
    """Of each class (K,): one minus its Dice score, and its labelled area."""
    overlap_k, size_k, labelled_k = _areas(pixels)
    # An absent class weighs nothing; this only spares it a 0 / 0.
    return 1 - 2 * overlap_k / torch.where(labelled_k > 0, size_k, 1.0), labelled_k


def _areas(pixels: LabelledPixels) -> tuple[Tensor, Tensor, Tensor]:
    """Of each class (K,): overlap, predicted plus labelled area, labelled area; over all ranks."""
    probability_nkhw = pixels.log_p_nkhw.exp()
    predicted_k = (probability_nkhw * pixels.labelled_nhw.unsqueeze(1)).sum((0, 2, 3))
    overlap_k = pixels.sums_by_class(pixels.log_p_true_nhw.exp())
    labelled_k = pixels.sums_by_class(torch.ones_like(pixels.log_p_true_nhw))
    predicted_k, overlap_k, labelled_k = global_sums(
        torch.stack([predicted_k, overlap_k, labelled_k])
    )
    return overlap_k, predicted_k + labelled_k, labelled_k


def _by_class(values_nkhw: Tensor) -> Tensor:
    """All pixels of each class in one row, (K, P)."""
    return values_nkhw.transpose(0, 1).flatten(1)


def _of_all_ranks(values_kp: Tensor) -> list[Tensor]:
    """What each rank has, in their order; without gradients."""
    return [part.t() for part in gather_over_ranks(values_kp.detach().t())]


def _jaccard_growth(errors_kp: Tensor, is_label_kp: Tensor) -> Tensor:
    """What each error counts: the growth of the Jaccard loss at its place in the sorted errors."""
    order_kp = errors_kp.argsort(dim=1, descending=True, stable=True)
    label_kp = is_label_kp.gather(1, order_kp).to(errors_kp.dtype)
    labelled_k1 = label_kp.sum(1, keepdim=True)
    missed_kp = label_kp.cumsum(1)
    wrong_kp = (1 - label_kp).cumsum(1)
    jaccard_kp = 1 - (labelled_k1 - missed_kp) / (labelled_k1 + wrong_kp).clamp_min(1)
    growth_kp = jaccard_kp.diff(dim=1, prepend=torch.zeros_like(labelled_k1))
    return torch.zeros_like(growth_kp).scatter(1, order_kp, growth_kp)
