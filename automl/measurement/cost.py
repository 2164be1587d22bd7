"""What a network costs, counted on its graph: no hooks on module types that could miss one."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def model_cost(model: nn.Module, size: tuple[int, int]) -> tuple[float, float]:
    """Give (params_m, macs_g): 10^6 parameters, and 10^9 multiply-adds of one image.

    `size` is (height, width) in pixels. Multiply-adds are those of all convolutions, linear
    layers and matrix products, whether modules or bare functions: half of what PyTorch's counter
    calls FLOPs. Norms (which an export folds away), activations and resizing are left out, as is
    usual. The model itself is untouched: an eval copy without data is traced.
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    params = sum(parameter.numel() for parameter in shadow.parameters())
    height, width = size
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shadow(torch.empty(1, 3, height, width, device="meta"))
    return params / 1e6, counter.get_total_flops() / 2 / 1e9
