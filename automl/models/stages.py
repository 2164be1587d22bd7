"""Which stage of an encoder each of its parameters belongs to, read from what depends on it."""

from __future__ import annotations

import torch
from torch import nn


def encoder_stages(encoder: nn.Module, size: tuple[int, int]) -> dict[str, int]:
    """The stage of each parameter by name: 0 for the one nearest to the image.

    It is the first of the encoder's maps, finest first, that depends on the parameter; what no map
    depends on counts to the last one. A blank image of `size` (height, width) goes through the
    encoder in evaluation mode. Modes, gradients and running statistics stay as they are.
    """
    named = dict(encoder.named_parameters())
    modes = {module: module.training for module in encoder.modules()}
    needed = {name: parameter.requires_grad for name, parameter in named.items()}
    device = next(iter(named.values())).device
    encoder.eval()
    for parameter in named.values():
        parameter.requires_grad = True
    try:
        maps = encoder(torch.zeros(1, 3, *size, device=device))
        return _first_maps(list(maps), named)
    finally:
        for name, parameter in named.items():
            parameter.requires_grad = needed[name]
        for module, mode in modes.items():
            module.training = mode


def _first_maps(maps: list[torch.Tensor], named: dict[str, nn.Parameter]) -> dict[str, int]:
    stages = dict.fromkeys(named, len(maps) - 1)
    for stage in reversed(range(len(maps))):
        gradients = torch.autograd.grad(
            maps[stage].sum(), list(named.values()), retain_graph=True, allow_unused=True
        )
        for name, gradient in zip(named, gradients, strict=True):
            if gradient is not None:
                stages[name] = stage
    return stages
