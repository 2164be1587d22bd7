"""Batch norms folded into the convolutions before them, as an export does it, but in torch.

Which norm follows which convolution is seen by running the network once: the norm's input is the
very tensor that the convolution gave. A norm with an activation inside keeps the activation.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from automl.errors import TrialError

#: Largest difference that folding may make, as a share of the largest output.
TOLERANCE = 1e-4

Network = TypeVar("Network", bound=nn.Module)


def fold_batch_norms(model: Network, example_nchw: Tensor) -> Network:
    """Give a copy of `model`, in evaluation mode, with its batch norms folded where one can be.

    Raises TrialError where the copy does not compute what the model does.
    """
    folded = copy.deepcopy(model).eval()
    # A blank image would hide what a norm does.
    probe = torch.randn(example_nchw.shape, generator=torch.Generator().manual_seed(0)).contiguous()
    with torch.no_grad():
        before = folded(probe)
        for conv_name, norm_name in _pairs(folded, probe):
            conv, norm = folded.get_submodule(conv_name), folded.get_submodule(norm_name)
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            _replace(folded, conv_name, fuse_conv_bn_eval(conv, norm))
            _replace(folded, norm_name, _what_is_left(norm))
        difference = float((folded(probe) - before).abs().max() / before.abs().max())
    if not difference <= TOLERANCE:
        raise TrialError(
            f"folding batch norms changes the output by {difference:.2g} of the largest value; "
            f"allowed is {TOLERANCE:g}"
        )
    return folded


def _pairs(model: nn.Module, probe: Tensor) -> list[tuple[str, str]]:
    """Names of convolutions and of the norms that take their outputs."""
    made: dict[int, str] = {}
    alive: list[Tensor] = []  # an id is a tensor's own only as long as the tensor is there
    pairs: list[tuple[str, str]] = []
    calls: dict[str, int] = {}

    def watch(name: str, module: nn.Module, given: Tensor, result: Tensor) -> None:
        calls[name] = calls.get(name, 0) + 1
        alive.append(result)
        if isinstance(module, nn.Conv2d):
            made[id(result)] = name
        elif id(given) in made:
            pairs.append((made[id(given)], name))

    with _watched(model, watch):
        model(probe)
    return [pair for pair in pairs if all(calls[name] == 1 for name in pair)]


@contextmanager
def _watched(model: nn.Module, watch: object) -> Iterator[None]:
    assert callable(watch)
    handles = [
        module.register_forward_hook(
            lambda module, given, result, name=name: watch(name, module, given[0], result)
        )
        for name, module in model.named_modules()
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _what_is_left(norm: nn.BatchNorm2d) -> nn.Module:
    """The activation of timm's norms that have one."""
    parts = [getattr(norm, name, None) for name in ("drop", "act")]
    kept = [part for part in parts if isinstance(part, nn.Module)]
    return nn.Sequential(*kept) if kept else nn.Identity()


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
