"""Optimizers by name, with weight decay on weights only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from automl.errors import UsageError
from automl.models.optimizers import lion

#: Where one kernel does the step. On CUDA, steps of fp16 may be skipped, and the fused SGD of
#: PyTorch then puts the overflow into its momentum, or reads a momentum that was never written.
_FUSED_DEVICES = {"adamw": frozenset({"cpu", "cuda"}), "sgd": frozenset({"cpu"})}

#: Takes groups of parameters and the rate.
OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = {
    "adamw": AdamW,
    "sgd": partial(SGD, momentum=0.9, nesterov=True),
    "lion": lion,
}


#: The key of a group that holds its share of the schedule's rate; without it, it is all of it.
LR_SHARE = "lr_share"

#: The rate of a parameter as a share of the schedule's.
LrShare = Callable[[nn.Parameter], float]


def build_optimizer(
    model: nn.Module,
    name: str,
    lr: float,
    weight_decay: float,
    lr_share: LrShare | None = None,
) -> Optimizer:
    """An optimizer of the parameters of `model` that require a gradient.

    `adamw` is AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), `sgd` has Nesterov momentum 0.9,
    `lion` is timm's (`models/optimizers.py`).
    Vectors (biases, scales of norms) are not decayed. Where `lr_share` is given, there is a group
    for each share, which its key `LR_SHARE` holds. The model must be on its device already. Raises
    UsageError for an unknown name, ValueError for a model with nothing to train.
    """
    if name not in OPTIMIZERS:
        raise UsageError(f"optimizer: given {name!r}; allowed {', '.join(OPTIMIZERS)}")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError("the model has no parameter that requires a gradient")
    groups = _groups(trained, weight_decay, lr_share)
    if name not in _FUSED_DEVICES:
        return OPTIMIZERS[name](groups, lr=lr)
    return OPTIMIZERS[name](groups, lr=lr, fused=_can_fuse(name, trained))


def _groups(
    trained: Sequence[nn.Parameter], weight_decay: float, lr_share: LrShare | None
) -> list[dict[str, Any]]:
    """The parameters by their share of the rate, weights before vectors; in their order."""
    shares = [1.0 if lr_share is None else lr_share(parameter) for parameter in trained]
    groups: list[dict[str, Any]] = []
    for share in dict.fromkeys(shares):
        own = [p for p, of in zip(trained, shares, strict=True) if of == share]
        extra = {} if lr_share is None else {LR_SHARE: share}
        groups += [
            {"params": [p for p in own if p.ndim > 1], "weight_decay": weight_decay, **extra},
            {"params": [p for p in own if p.ndim <= 1], "weight_decay": 0.0, **extra},
        ]
    return [group for group in groups if group["params"]]


def _can_fuse(name: str, parameters: Sequence[Tensor]) -> bool:
    devices = _FUSED_DEVICES[name]
    return all(p.device.type in devices and p.is_floating_point() for p in parameters)
