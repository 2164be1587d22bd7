"""Optimizers by name, with weight decay on weights only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from automl.errors import UsageError

#: Where one kernel does the step. On CUDA, steps of fp16 may be skipped, and the fused SGD of
#: PyTorch then puts the overflow into its momentum, or reads a momentum that was never written.
_FUSED_DEVICES = {"adamw": frozenset({"cpu", "cuda"}), "sgd": frozenset({"cpu"})}

OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = {
    "adamw": AdamW,
    "sgd": partial(SGD, momentum=0.9, nesterov=True),
}


def build_optimizer(model: nn.Module, name: str, lr: float, weight_decay: float) -> Optimizer:
    """An optimizer of the parameters of `model` that require a gradient.

    `adamw` is AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), `sgd` has Nesterov momentum 0.9.
    Vectors (biases, scales of norms) are not decayed. The model must be on its device already.
    Raises UsageError for an unknown name, ValueError for a model with nothing to train.
    """
    if name not in OPTIMIZERS:
        raise UsageError(f"optimizer: given {name!r}; allowed {', '.join(OPTIMIZERS)}")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError("the model has no parameter that requires a gradient")
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    filled = [group for group in groups if group["params"]]
    return OPTIMIZERS[name](filled, lr=lr, fused=_can_fuse(name, trained))


def _can_fuse(name: str, parameters: Sequence[Tensor]) -> bool:
    devices = _FUSED_DEVICES[name]
    return all(p.device.type in devices and p.is_floating_point() for p in parameters)
