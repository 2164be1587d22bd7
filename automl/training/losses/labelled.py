"""What all losses read of a batch, and how they add up over ranks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from automl.records import IGNORE
from automl.training.precision import at_least_float32
from automl.training.ranks import sum_over_ranks, world_size


class LabelledPixels:
    """Log-probabilities (N, K, H, W), and where and what (N, H, W) the labels are."""

    def __init__(self, logits_nkhw: Tensor, target_nhw: Tensor) -> None:
        self.num_classes = logits_nkhw.shape[1]
        self.labelled_nhw = target_nhw != IGNORE
        self.label_nhw = torch.where(self.labelled_nhw, target_nhw, 0)
        self.log_p_nkhw = F.log_softmax(at_least_float32(logits_nkhw), dim=1)
        self.log_p_true_nhw = self.log_p_nkhw.gather(1, self.label_nhw.unsqueeze(1)).squeeze(1)

    def sums_by_class(self, values_nhw: Tensor) -> Tensor:
        """For each class the sum (K,) of `values_nhw` over the pixels labelled so."""
        values_nhw = values_nhw * self.labelled_nhw
        sums = class_sums_by_mask if values_nhw.is_cuda else class_sums_by_index
        return sums(values_nhw, self.label_nhw, self.num_classes)

    def labelled_as_nkhw(self) -> Tensor:
        """Whether each pixel is labelled as each class, as booleans (N, K, H, W)."""
        classes_k = torch.arange(self.num_classes, device=self.label_nhw.device).view(1, -1, 1, 1)
        is_label_nkhw = self.label_nhw.unsqueeze(1) == classes_k
        return is_label_nkhw & self.labelled_nhw.unsqueeze(1)


def class_sums_by_index(values_nhw: Tensor, label_nhw: Tensor, num_classes: int) -> Tensor:
    """Fast on a CPU, where additions into one cell come one after another anyway.

    In single precision those of a large batch would lose whole digits, so they are in double.
    """
    sums_k = torch.zeros(num_classes, dtype=torch.float64, device=values_nhw.device)
    sums_k = sums_k.index_add(0, label_nhw.reshape(-1), values_nhw.reshape(-1).double())
    return sums_k.to(values_nhw.dtype)


def class_sums_by_mask(values_nhw: Tensor, label_nhw: Tensor, num_classes: int) -> Tensor:
    """For a GPU: no contended atomic additions, hence also the same sum on each run."""
    classes_k = torch.arange(num_classes, device=label_nhw.device).view(1, -1, 1, 1)
    mask_nkhw = label_nhw.unsqueeze(1) == classes_k
    return (values_nhw.unsqueeze(1) * mask_nkhw).sum((0, 2, 3))


def global_sums(local_sums: Tensor) -> Tensor:
    """Sums over all ranks, with this rank's share of the gradient (see the package's docstring)."""
    ranks = world_size()
    if ranks == 1:
        return local_sums
    scaled = ranks * local_sums
    return scaled + (sum_over_ranks(local_sums) - scaled.detach())


def mean_over_present(lost_k: Tensor, labelled_k: Tensor, weights_k: Tensor | None) -> Tensor:
    """The weighted mean of the classes' losses over those with labelled pixels; 0 without any."""
    weight_k = (labelled_k > 0).to(lost_k.dtype)
    if weights_k is not None:
        weight_k = weight_k * weights_k.to(lost_k.dtype)
    return torch.div((weight_k * lost_k).sum(), at_least_tiny(weight_k.sum()))


def at_least_tiny(weight: Tensor) -> Tensor:
    """A divisor that is not 0."""
    return weight.clamp_min(torch.finfo(weight.dtype).tiny)
