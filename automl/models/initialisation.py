"""How a network starts: by default, decoder and head; encoders keep timm's own initialisation.

Every formula of the default preserves the size of the activations on the way forward: a decoder has
convolutions without a norm behind them (the laterals of a pyramid, the pointwise half of a
separable one), where a fan-out rule would multiply the variance by C_in / C_out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

#: The share of the pixels that a class is taken to have at least, where biases start at shares.
LEAST_SHARE = 1e-4

#: Gives a weight's new values, given the weight, its groups and a source of random numbers.
Draw = Callable[[Tensor, int, torch.Generator], Tensor]

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


def redraw(module: nn.Module, kind: str, seed: int) -> None:
    """Draw the weights of all convolutions and linear layers anew, by one of `INITS`.

    Biases and norms stay as they are: a library's zero at the end of a residual block (Goyal et
    al. 2017, section 5.1) holds on. The same seed gives a layer of one name the same weights.
    """
    for name, layer in drawn_layers(module).items():
        with torch.no_grad():
            layer.weight.copy_(drawn_weight(name, layer, kind, seed))


def drawn_layers(module: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers of a module whose weights are drawn, by name."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }


def drawn_weight(name: str, layer: nn.Conv2d | nn.Linear, kind: str, seed: int) -> Tensor:
    """What `redraw` gives a layer, on the CPU."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    # Plain strides: numbers are drawn in the order of the memory.
    return INITS[kind](torch.empty(layer.weight.shape), groups, generator)


def prior_bias(head: nn.Conv2d, pixel_shares: Sequence[float]) -> None:
    """Have the first probabilities be the classes' shares of the pixels, whatever the image.

    Source: Lin et al. 2017 (focal loss, arXiv:1708.02002), section 4.1, for a softmax, where it is
    the logarithm of the prior. A class that never occurs has `LEAST_SHARE`.
    """
    assert head.bias is not None
    shares = torch.tensor(pixel_shares, dtype=torch.float64).clamp_min(LEAST_SHARE)
    with torch.no_grad():
        head.bias.copy_((shares / shares.sum()).log())


def _kaiming(weight: Tensor, groups: int, generator: torch.Generator) -> Tensor:
    """N(0, 2 / fan_out). Source: He et al. 2015 (arXiv:1502.01852), eq. 14."""
    std = math.sqrt(2 / _fan_out(weight, groups))
    return torch.empty_like(weight).normal_(0.0, std, generator=generator)


def _xavier(weight: Tensor, groups: int, generator: torch.Generator) -> Tensor:
    """N(0, 2 / (fan_in + fan_out)). Source: Glorot & Bengio 2010, eq. 12."""
    fans = math.prod(weight.shape[1:]) + _fan_out(weight, groups)
    return torch.empty_like(weight).normal_(0.0, math.sqrt(2 / fans), generator=generator)


def _orthogonal(weight: Tensor, groups: int, generator: torch.Generator) -> Tensor:
    """Rows, or columns where there are fewer, at right angles, of length sqrt(2), in each group.

    Source: Saxe et al. 2014 (arXiv:1312.6120); the gain is that of a ReLU.
    """
    matrices = weight.reshape(groups, weight.shape[0] // groups, -1)
    normal = torch.empty_like(matrices).normal_(generator=generator)
    wide = normal.shape[1] < normal.shape[2]
    q, r = torch.linalg.qr(normal.mT if wide else normal)
    # Without the signs, the distribution would not be uniform (Mezzadri 2007, section 5).
    q = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    rows: Tensor = q.mT if wide else q
    return rows.reshape(weight.shape) * math.sqrt(2)


#: The ways to draw weights, by their names in a search space; `default` is not one of them.
INITS: Mapping[str, Draw] = MappingProxyType(
    {"kaiming": _kaiming, "xavier": _xavier, "orthogonal": _orthogonal}
)


def _fan_out(weight: Tensor, groups: int) -> int:
    """The outputs that an input of a group reaches."""
    return weight.shape[0] // groups * math.prod(weight.shape[2:])
