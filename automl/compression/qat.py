"""Quantization-aware training: convolutions that compute, in training, as INT8 will.

Each convolution's input is rounded to uint8 and its weights to int8 per output channel, as in the
quantized file; the gradient passes straight through the rounding, and is 0 beyond the range. The
range of an input follows the batches. After training the rounding is taken away again: what is left
is a float network that INT8 hurts less, and the learnt ranges of its tensors.

Sources: Jacob et al. 2018, "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", sections 2.1 and 3; the straight-through estimator: Bengio et
al. 2013. Linear layers and what lies between convolutions are left to calibration.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from automl.compression.calibrate import Ranges

#: Levels of uint8, and the largest int8 that weights use: symmetric, so -127 to 127.
_LEVELS = 255
_LARGEST = 127

_SMALLEST_SCALE = 1e-8
_RANGE = "input_range"

#: How much of a range stays at each batch: it follows quickly at first, slowly later.
_EARLY, _LATE, _EARLY_BATCHES = 0.9, 0.99, 100


class InputRange(nn.Module):
    """Rounds what it is given to 256 levels of a range that follows the batches in training."""

    low: Tensor
    high: Tensor
    batches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, values: Tensor) -> Tensor:
        """The values as uint8 can hold them; the range holds 0, which stays exact."""
        if self.training:
            self._follow(values.detach())
        scale = ((self.high - self.low) / _LEVELS).clamp(min=_SMALLEST_SCALE)
        zero_point = (-self.low / scale).round().clamp(0, _LEVELS).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(values, scale, zero_point, 0, _LEVELS)

    def _follow(self, values: Tensor) -> None:
        seen = int(self.batches)
        stays = 0.0 if seen == 0 else _EARLY if seen < _EARLY_BATCHES else _LATE
        self.low.mul_(stays).add_(values.amin().clamp(max=0) * (1 - stays))
        self.high.mul_(stays).add_(values.amax().clamp(min=0) * (1 - stays))
        self.batches.add_(1)


class _Int8Weight(nn.Module):
    """Rounds a convolution's weights as int8 per output channel, symmetric."""

    def forward(self, weight: Tensor) -> Tensor:
        """The weights as int8 can hold them."""
        scale = weight.detach().abs().amax((1, 2, 3)) / _LARGEST
        zero = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
        return torch.fake_quantize_per_channel_affine(
            weight, scale.clamp(min=_SMALLEST_SCALE), zero, 0, -_LARGEST, _LARGEST
        )


class FakeQuantization:
    """Has every convolution of `model` compute as INT8 will, in place, until it is removed."""

    def __init__(self, model: nn.Module) -> None:
        self._convolutions = [
            (name, module)
            for name, module in model.named_modules()
            if isinstance(module, nn.Conv2d)
        ]
        self._hooks = []
        for _, conv in self._convolutions:
            conv.add_module(_RANGE, InputRange())
            self._hooks.append(conv.register_forward_pre_hook(_round_input))
            parametrize.register_parametrization(conv, "weight", _Int8Weight())

    def remove(self) -> dict[str, tuple[float, float]]:
        """Leave the weights as trained; the learnt ranges of inputs, by convolution's name."""
        for hook in self._hooks:
            hook.remove()
        ranges = {}
        for name, conv in self._convolutions:
            learnt = conv.get_submodule(_RANGE)
            assert isinstance(learnt, InputRange)
            ranges[name] = (float(learnt.low), float(learnt.high))
            parametrize.remove_parametrizations(conv, "weight", leave_parametrized=False)
            delattr(conv, _RANGE)
        return ranges


def ranges_in_export(core: Path, learnt: dict[str, tuple[float, float]]) -> Ranges:
    """The ranges of the tensors that enter convolutions, in the export of the network at `core`.

    An exported convolution is known by its weights, which keep the name of the torch module. Where
    several convolutions take one tensor, its range holds theirs all.
    """
    ranges: dict[str, tuple[float, float]] = {}
    for node in onnx.load(core).graph.node:
        if node.op_type != "Conv":
            continue
        own = learnt.get(node.input[1].removesuffix(".weight"))
        if own is not None:
            low, high = ranges.get(node.input[0], own)
            ranges[node.input[0]] = (min(low, own[0]), max(high, own[1]))
    return ranges


def _round_input(conv: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (conv.get_submodule(_RANGE)(given[0]), *given[1:])
