"""Torch programs as functions on arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from automl.formats.network import Network, Run


def run_of(program: Callable[[Tensor], Tensor]) -> Run:
    """Run a torch program without gradients."""

    def run(images_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits_nkhw: NDArray[np.float32] = program(torch.from_numpy(images_nchw)).numpy()
        return logits_nkhw

    return run


def example(network: Network, count: int) -> Tensor:
    """`count` images to trace a network with; noise, since a blank one hides what a norm does."""
    seeded = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, *network.size, generator=seeded)
