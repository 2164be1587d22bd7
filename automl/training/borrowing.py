"""Borrow a model, or the process's random state, and give it back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from automl.training.manner import LAYOUTS, uncompiled


@contextmanager
def on_device(
    model: nn.Module, device: torch.device, layout: str = "channels_last"
) -> Iterator[None]:
    """Have `model` on `device` in a layout, then back where it was, in its old modes.

    Weights stay in the layout's strides (no value differs), and no gradients are left behind.
    Parameters ask for gradients again where they did.
    """
    tensor = next(model.parameters(), None)
    home = tensor.device if tensor is not None else torch.device("cpu")
    modes = {module: module.training for module in model.modules()}
    learning = {parameter: parameter.requires_grad for parameter in model.parameters()}
    hooks = []
    try:
        model.to(device)
        model.to(memory_format=LAYOUTS[layout])
        if layout != "channels_last":  # which images come in
            hooks.append(model.register_forward_pre_hook(_contiguous))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        model.zero_grad(set_to_none=True)
        model.to(home)
        for parameter, learns in learning.items():
            parameter.requires_grad = learns
        for module, mode in modes.items():
            module.training = mode


def as_current(device: torch.device) -> AbstractContextManager[None]:
    """Have CUDA's current device be `device`: NCCL sends objects between ranks through it."""
    if device.type != "cuda":
        return nullcontext()
    current: AbstractContextManager[None] = torch.cuda.device(device)
    return current


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Have `model` in evaluation mode, as written, then each of its modules in its old mode."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with uncompiled(model):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _contiguous(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.contiguous() for tensor in inputs)


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Restore torch's random state afterwards, and keep cuDNN to repeatable algorithms inside.

    A few CUDA kernels outside cuDNN (the gradient of bilinear resizing) add in varying order all
    the same, so seeded losses repeat bit by bit on a CPU and to rounding on a GPU.
    """
    deterministic = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        torch.backends.cudnn.deterministic = deterministic
