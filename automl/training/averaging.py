"""An average of the weights over the steps: what is scored, kept and exported instead of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

#: The warm-up of the decay: after t updates it is at most t / (t + 9), so the average is of about
#: the last tenth of a short run, and begins with the weights after the first step. Source: the
#: `num_updates` of TensorFlow's ExponentialMovingAverage, (1 + n) / (10 + n), with n = t - 1.
_WARM_UP = 9


class WeightAverage:
    """The exponential moving average of a network's weights, as a network of its own.

    Source: Polyak & Juditsky 1992; Tarvainen & Valpola 2017 (mean teacher, arXiv:1703.01780).
    Running statistics of batch norms, which belong to the weights of their time, are
    averaged as the weights are; counters are copied. `model` is in evaluation mode and asks for no
    gradient, so it may teach as it is. It is the same on every rank where the weights are; the
    statistics have to be shared by whoever shares those of the network.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay must be above 0 and below 1, got {decay}")
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)

    def decay_at(self, updates: int) -> float:
        """The decay of the next update, after so many."""
        return min(self.decay, updates / (updates + _WARM_UP))

    @torch.no_grad()
    def update(self, model: nn.Module, updates: int) -> None:
        """Take in the weights of `model` after an optimizer step; `updates` came before."""
        averaged, counted = _tensors(self.model), _tensors(model)
        moving = [name for name, value in averaged.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [averaged[name] for name in moving],
            [counted[name] for name in moving],
            1 - self.decay_at(updates),
        )
        for name in averaged.keys() - set(moving):
            averaged[name].copy_(counted[name])


def _tensors(model: nn.Module) -> Mapping[str, Tensor]:
    """Weights and buffers by name, each once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
