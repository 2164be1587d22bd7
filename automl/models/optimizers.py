"""The optimizers that come from timm."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import timm.optim
from torch.optim import Optimizer


def lion(groups: Iterable[dict[str, Any]], *, lr: float) -> Optimizer:
    """Lion: steps of the same size for every weight, by the sign of an interpolated momentum.

    Source: Chen et al. 2023 (arXiv:2302.06675), algorithm 2, with its betas 0.9 and 0.99. The decay
    is AdamW's, `lr * weight_decay` of the weights a step.
    """
    built: Optimizer = timm.optim.Lion(groups, lr=lr, betas=(0.9, 0.99))
    return built
