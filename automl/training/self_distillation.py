"""Self-distillation: in the second part of a run the average of the weights teaches the weights.

Shapes: N batch, K classes, H and W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from automl.training.losses.labelled import global_sums
from automl.training.precision import at_least_float32
from automl.training.ranks import sum_over_ranks


@dataclass(frozen=True, slots=True)
class Tutor:
    """A network that teaches beside the labels, by a weight; it is in evaluation mode."""

    model: nn.Module
    weight: float

    def term(self, logits_nkhw: Tensor, images_nchw: Tensor) -> Tensor:
        """`weight` times how far the logits of images are from the tutor's, a scalar.

        It is the mean over all pixels of the global batch of KL(tutor || logits). Source: Tarvainen
        & Valpola 2017 (mean teacher, arXiv:1703.01780), section 2, with the divergence that they
        compare in section 3.6 for the squared error, on one view instead of two. No gradient
        reaches the tutor. Half precisions are computed in float32; float64 stays float64.
        """
        with torch.no_grad():
            taught = F.log_softmax(at_least_float32(self.model(images_nchw)), dim=1)
        learnt = F.log_softmax(at_least_float32(logits_nkhw), dim=1)
        divergence = F.kl_div(learnt, taught, reduction="sum", log_target=True)
        pixels = divergence.new_tensor(float(learnt.numel() // learnt.shape[1]))
        return self.weight * global_sums(divergence) / sum_over_ranks(pixels)


def teaches_from(total_steps: int) -> int:
    """The step, from 0, from which an average of that many steps teaches: before, it lags."""
    return total_steps // 2
