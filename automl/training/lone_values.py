"""Batch norms in training that get one value a channel, as from one image at the stride of its map.

One value has no variance, and what a batch norm would make of it is its bias, whatever the image:
torch refuses it. Such a norm takes its running statistics instead and leaves them as they are, for
that forward pass alone. It then does what it does in evaluation, and gradients pass. Where every
batch is one image, training and evaluation stay the same function: the running statistics are those
that the norm began with. (The norm of DeepLab's pooled branch is left out: `models/decoders.py`.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from automl.training.borrowing import evaluating


class LoneValues:
    """Knows the batch norms that get one value a channel, for each network and size of images.

    `ranks` is how many ranks take their statistics together.
    """

    def __init__(self, *, ranks: int = 1) -> None:
        self._ranks = ranks
        self._norms: dict[tuple[nn.Module, torch.Size], list[_BatchNorm]] = {}

    @contextmanager
    def resting(self, model: nn.Module, images_nchw: Tensor) -> Iterator[None]:
        """Have these norms in evaluation mode for a forward pass of `images_nchw`."""
        norms = [norm for norm in self._of(model, images_nchw) if norm.training]
        for norm in norms:
            norm.eval()
        try:
            yield
        finally:
            for norm in norms:
                norm.train()

    def _of(self, model: nn.Module, images_nchw: Tensor) -> list[_BatchNorm]:
        if len(images_nchw) * self._ranks > 1:
            return []
        key = model, images_nchw.shape
        if key not in self._norms:
            self._norms[key] = _of_one_value(model, images_nchw)
        return self._norms[key]


def _of_one_value(model: nn.Module, images_nchw: Tensor) -> list[_BatchNorm]:
    """The norms with running statistics that get one value a channel from these images."""
    found: list[_BatchNorm] = []
    hooks = [
        module.register_forward_pre_hook(partial(_note, found))
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    try:
        with evaluating(model), torch.no_grad():
            model(images_nchw)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _note(found: list[_BatchNorm], norm: nn.Module, inputs: tuple[Any, ...]) -> None:
    if isinstance(norm, _BatchNorm) and inputs[0].numel() == inputs[0].shape[1]:
        found.append(norm)
