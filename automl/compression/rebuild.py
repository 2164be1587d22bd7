"""A pruned network from its state dict alone: no pickled modules, no history of cuts."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from automl.errors import TrialError
from automl.models.build import SIZE_STEP, SegmentationNet

_FULL_GROUP = "unpruned_channels_in_group"


def fit_to_state(model: SegmentationNet, state: Mapping[str, Tensor]) -> SegmentationNet:
    """Give a copy of an unpruned `model`, narrowed to the shapes of `state` and filled with it.

    Rebuilds what `prune` made from its state dict alone. Raises TrialError, naming tensors, where
    names do not match, a tensor has other dimensions or more channels than the model's, or the
    layers do not fit together.
    """
    own = model.state_dict()
    problems = [f"missing: {name}" for name in own if name not in state]
    problems += [f"unknown: {name}" for name in state if name not in own]
    problems += [
        f"{name}: shape {tuple(state[name].shape)} is no part of {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and not _is_part(state[name], value)
    ]
    if problems:
        shown = "; ".join(problems[:5])
        raise TrialError(f"weights do not fit the network ({len(problems)} faults): {shown}")
    fitted = copy.deepcopy(model)
    for name, module in fitted.named_modules():
        _resize(module, name, state)
    fitted.load_state_dict(dict(state))
    _check_layers_meet(fitted)
    return fitted


def regroup(layer: nn.GroupNorm, channels: int) -> None:
    """Set the numbers of channels and groups of a norm that is narrowed to `channels`.

    A group keeps as many channels as it had before any pruning, or the largest divisor of that
    number which divides `channels`; one group stays one. Pruning and rebuilding share this rule,
    since a state dict does not hold the number of groups. The first size of a group is kept on
    the layer, so that pruning twice ends where rebuilding from the unpruned network does.
    """
    full = getattr(layer, _FULL_GROUP, layer.num_channels // layer.num_groups)
    setattr(layer, _FULL_GROUP, full)
    layer.num_groups = 1 if layer.num_groups == 1 else channels // math.gcd(channels, full)
    layer.num_channels = channels


def _is_part(given: Tensor, own: Tensor) -> bool:
    return given.dim() == own.dim() and all(
        0 < mine <= full for mine, full in zip(given.shape, own.shape, strict=True)
    )


def _resize(module: nn.Module, name: str, state: Mapping[str, Tensor]) -> None:
    """Set a layer's declared widths, then its tensors, to the shapes in `state`."""
    prefix = f"{name}." if name else ""
    weight = state.get(f"{prefix}weight")
    if weight is not None:
        _declare_widths(module, weight)
    for key, parameter in module.named_parameters(recurse=False):
        given = state[prefix + key]
        if given.shape != parameter.shape:
            empty = parameter.new_empty(given.shape)
            setattr(module, key, nn.Parameter(empty, requires_grad=parameter.requires_grad))
    for key, buffer in module.named_buffers(recurse=False):
        # Buffers that are not saved are absent from `state`.
        wanted = state.get(prefix + key)
        if wanted is not None and wanted.shape != buffer.shape:
            setattr(module, key, buffer.new_empty(wanted.shape))


def _declare_widths(module: nn.Module, weight: Tensor) -> None:
    if isinstance(module, nn.Conv2d):
        if module.groups > 1 and module.groups == module.out_channels:
            module.groups = weight.shape[0]
        module.out_channels = weight.shape[0]
        module.in_channels = weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, _BatchNorm):
        module.num_features = weight.shape[0]
    elif isinstance(module, nn.GroupNorm):
        regroup(module, weight.shape[0])
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(weight.shape)


def _check_layers_meet(model: SegmentationNet) -> None:
    """Send one small image through, and leave the layers in the modes that they were in."""
    modes = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, 2 * SIZE_STEP, 2 * SIZE_STEP, device=device))
    except RuntimeError as error:
        raise TrialError(
            f"weights do not fit the network: its layers do not meet: {error}"
        ) from error
    finally:
        for module, training in modes:
            module.training = training
