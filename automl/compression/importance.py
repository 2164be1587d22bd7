"""How important a channel is to a network: what decides which channels go.

Every score is made of the layers of a group of coupled channels: the mean over these layers, in
units of the group's mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from automl.space.pruning import ImportanceName

#: Takes a group of coupled channels, gives a score for each; None where nothing can be said.
Score = Callable[[Any], Tensor | None]


def _group_norm() -> Score:
    return tp.importance.GroupMagnitudeImportance(p=2)  # type: ignore[no-any-return]


def _l1() -> Score:
    return tp.importance.GroupMagnitudeImportance(p=1)  # type: ignore[no-any-return]


def _bn_scale() -> Score:
    return tp.importance.BNScaleImportance()  # type: ignore[no-any-return]


#: group_norm: squared weights (Fang et al. 2023, DepGraph, eq. 4); l1: absolute weights (Li et al.
#: 2017); bn_scale: absolute scales of batch norms (Liu et al. 2017); taylor: |weight x gradient| of
#: the loss (Molchanov et al. 2019, eq. 8), which is l1 while `as_products` holds: torch-pruning's
#: own leaves batch norms out.
SCORES: Mapping[ImportanceName, Callable[[], Score]] = {
    "group_norm": _group_norm,
    "l1": _l1,
    "bn_scale": _bn_scale,
    "taylor": _l1,
}


def loss_gradients(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, Tensor]:
    """The gradient of each parameter, summed over batches of normalised images and their labels.

    The network computes as it does at work (eval mode), and is given back as it was. Parameters
    that are not trained have a gradient of 0.
    """
    modes = {module: module.training for module in model.modules()}
    named = {name: value for name, value in model.named_parameters() if value.requires_grad}
    total = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    model.eval()
    try:
        for images_nchw, target_nhw in batches:
            value = loss(model(images_nchw), target_nhw)
            found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
            for name, gradient in zip(named, found, strict=True):
                if gradient is not None:
                    total[name] += gradient
    finally:
        for module, mode in modes.items():
            module.training = mode
    return total


@contextmanager
def as_products(model: nn.Module, gradients: Mapping[str, Tensor]) -> Iterator[None]:
    """Let each parameter be its product with its gradient, then what it was."""
    kept = {name: value.data for name, value in model.named_parameters()}
    try:
        for name, value in model.named_parameters():
            value.data = value.data * gradients[name]
        yield
    finally:
        for name, value in model.named_parameters():
            value.data = kept[name]
