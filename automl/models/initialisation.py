"""How a decoder and a head start; encoders keep timm's own initialisation.

Every formula preserves the size of the activations on the way forward: a decoder has convolutions
without a norm behind them (the laterals of a pyramid, the pointwise half of a separable one),
where a fan-out rule would multiply the variance by C_in / C_out.
"""

from __future__ import annotations

import math

from torch import nn

#: Size of the first logits relative to the features: training starts near equal probabilities.
_HEAD_GAIN = 0.1


def initialise_decoder(decoder: nn.Module) -> None:
    """Convolutions and linear layers: N(0, 2 / fan_in); norms: 1 and 0; biases: 0.

    Source: He et al. 2015, eq. 10; fan_in counts one group's inputs only, which is what a
    depthwise convolution sees.
    """
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=math.sqrt(2 / _fan_in(module)))
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
            nn.init.ones_(module.weight)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def initialise_head(head: nn.Conv2d) -> None:
    """Weights: N(0, 0.1^2 / fan_in), so that the first logits are small; biases: 0."""
    nn.init.normal_(head.weight, std=_HEAD_GAIN / math.sqrt(_fan_in(head)))
    if head.bias is not None:
        nn.init.zeros_(head.bias)


def _fan_in(module: nn.Conv2d | nn.Linear) -> int:
    return math.prod(module.weight.shape[1:])
