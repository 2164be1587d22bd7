"""Zero-cost proxies: what an untrained network and one batch say about its accuracy once trained.

Each proxy is a function of a network and a batch. It works on a copy: the network itself is never
touched. Higher should mean more accurate; whether it does is for a study to measure, beside the
trivial proxies, parameters and multiply-adds.

Shapes: N images, C channels, K classes, H and W pixels, U units of one activation layer.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from automl.measurement.cost import model_cost

#: Activations by the name of their class, since timm has its own ones beside PyTorch's.
_ACTIVATIONS = frozenset(
    {"relu", "relu6", "prelu", "leakyrelu", "elu", "selu", "celu", "gelu", "gelutanh", "quickgelu"}
    | {"silu", "swish", "mish", "hardmish", "hardmishjit", "hardswish"}
)
#: What ends the small network that weighs channels (squeeze-and-excitation): it gives 0 to 1.
_GATES = frozenset({"sigmoid", "hardsigmoid"})
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
_NORMS = (*_BATCH_NORMS, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)
_WEIGHED = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)

#: What synflow's input and output are multiplied by, one after another, until nothing overflows.
_SYNFLOW_SCALES = (1.0, 1e-150, 1e-300)
#: Codes are compared so many units at a time, which bounds the memory that it takes.
_CODE_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeBatch:
    """Normalised training images, their labels, and a loss of (logits (N, K, H, W), labels)."""

    images_nchw: Tensor
    target_nhw: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]

    def __post_init__(self) -> None:
        if len(self.images_nchw) < 2 or len(self.images_nchw) != len(self.target_nhw):
            raise ValueError(
                "a probe needs at least 2 images and as many masks, "
                f"got {len(self.images_nchw)} and {len(self.target_nhw)}"
            )


def synflow(model: nn.Module, size: tuple[int, int]) -> float:
    """Give log10 of the synaptic flow, the sum over all weights of `w dR/dw`.

    `size` is (height, width) in pixels. R is the sum of the outputs for an image of ones of the
    network with the absolute values of its weights, and without what is not a product of weights:
    biases are 0, norms and activations pass their input on, and gates stand open at 1. Sources:
    Tanaka et al. 2020 (arXiv:2006.05467), section 4, R = 1^T (prod |W|) 1; as a score of
    architectures, without batch norm, Abdelfattah et al. 2021 (arXiv:2101.08134), section 3.2.

    R grows by a factor a layer and can leave even float64. It is proportional to the input: where
    it overflows, both ends of the network are scaled down and the logarithm makes up for it.

    Raises ValueError where no scale gives a positive finite number.
    """
    linear = _linearised(model)
    weights = [module.weight for module in linear.modules() if isinstance(module, _WEIGHED)]
    height, width = size
    for scale in _SYNFLOW_SCALES:
        image = torch.full((1, 3, height, width), scale, dtype=torch.float64)
        flows = torch.autograd.grad((scale * linear(image)).sum(), weights, allow_unused=True)
        products = (
            w.detach() * flow for w, flow in zip(weights, flows, strict=True) if flow is not None
        )
        score = sum(float(product.sum()) for product in products)
        if math.isfinite(score) and score > 0:
            return math.log10(score) - 2 * math.log10(scale)
    raise ValueError("synflow is not a positive finite number for this network")


def naswot(model: nn.Module, images_nchw: Tensor) -> float:
    """Give log |det K_H|, where K_H[i, j] counts the units whose code agrees for images i and j.

    Source: Mellor et al. 2021 (arXiv:2006.04647), eq. 2 and 3, K_H = N_A - Hamming distance.

    A unit's bit says whether its value *before* the activation is positive. For ReLU that is
    whether the unit is on, the paper's definition. For smooth or shifted activations (hardswish,
    SiLU, GELU) it is the half of the curve that the value lies on; the second kink of ReLU6 and
    hardswish is not counted. Gates (squeeze-and-excitation) have no bits. Batch norms use the
    statistics of the batch: with the ones that they start with they would not normalise at all.
    Where a network cuts images into windows, those of one image lie together and count as its own.

    Raises ValueError for a network without activations, and where K_H is singular: then some
    images cannot be told apart.
    """
    shadow = _for_training(model)
    agreements_nn = torch.zeros(len(images_nchw), len(images_nchw), dtype=torch.float64)

    def count(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) % len(images_nchw) == 0:
            agreements_nn.add_(_agreements(inputs[0].reshape(len(images_nchw), -1)))

    layers = [module for module in shadow.modules() if _kind(module) in _ACTIVATIONS]
    for layer in layers:
        layer.register_forward_pre_hook(count)
    with torch.no_grad():
        shadow(images_nchw)
    sign, log_determinant = torch.linalg.slogdet(agreements_nn)
    if not layers or float(sign) <= 0 or not math.isfinite(float(log_determinant)):
        raise ValueError("naswot: the network's activations do not tell the images apart")
    return float(log_determinant)


def gradient_norm(model: nn.Module, batch: ProbeBatch) -> float:
    """Sum over convolutions and linear layers of the L2 norm of the loss's gradient.

    Source: Abdelfattah et al. 2021 (arXiv:2101.08134), section 3.1; as in its code, over weights.
    Raises ValueError where it is not finite.
    """
    shadow = _for_training(model)
    weights = [module.weight for module in shadow.modules() if isinstance(module, _WEIGHED)]
    for weight in weights:
        weight.requires_grad_()
    loss = batch.loss(shadow(batch.images_nchw), batch.target_nhw)
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    total = sum(float(g.double().norm()) for g in gradients if g is not None)
    if not math.isfinite(total):
        raise ValueError(f"the norm of the gradient is {total}")
    return total


def _size(batch: ProbeBatch) -> tuple[int, int]:
    height, width = batch.images_nchw.shape[-2:]
    return height, width


#: Every proxy by its name; the last two are the trivial ones, in millions and in 10^9.
PROXIES: Mapping[str, Callable[[nn.Module, ProbeBatch], float]] = MappingProxyType(
    {
        "naswot": lambda model, batch: naswot(model, batch.images_nchw),
        "synflow": lambda model, batch: synflow(model, _size(batch)),
        "grad_norm": gradient_norm,
        "params": lambda model, batch: model_cost(model, _size(batch))[0],
        "macs": lambda model, batch: model_cost(model, _size(batch))[1],
    }
)


def proxy_scores(model: nn.Module, batch: ProbeBatch) -> dict[str, float]:
    """Every proxy of one network; same network and batch, same scores."""
    return {name: score(model, batch) for name, score in PROXIES.items()}


def _kind(module: nn.Module) -> str:
    return type(module).__name__.lower()


def _for_training(model: nn.Module) -> nn.Module:
    """A copy whose batch norms use the batch's statistics, while nothing is dropped at random."""
    shadow = copy.deepcopy(model).eval()
    for module in shadow.modules():
        if isinstance(module, _BATCH_NORMS):
            module.training = True
    return shadow


def _linearised(model: nn.Module) -> nn.Module:
    """A float64 copy that is a product of absolute weights: see `synflow`."""
    shadow = copy.deepcopy(model).double().eval()
    _without_curves(shadow)
    for module in shadow.modules():
        if isinstance(module, _WEIGHED) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for parameter in shadow.parameters():
        parameter.data.abs_()
        parameter.requires_grad_()
    return shadow


def _without_curves(parent: nn.Module) -> None:
    """Replace norms and activations by the identity, and gates by ones."""
    for name, child in parent.named_children():
        if isinstance(child, _NORMS) or _kind(child) in _ACTIVATIONS:
            setattr(parent, name, nn.Identity())
        elif _kind(child) in _GATES:
            setattr(parent, name, _Open())
        else:
            _without_curves(child)


class _Open(nn.Module):
    """A gate that lets everything through."""

    def forward(self, values: Tensor) -> Tensor:
        """Ones, whatever comes."""
        return torch.ones_like(values)


def _agreements(values_nu: Tensor) -> Tensor:
    """How many units agree for each two images: (N, N), from the values before an activation."""
    codes_nu = values_nu > 0
    total_nn = torch.zeros(len(codes_nu), len(codes_nu), dtype=torch.float64)
    for chunk_nu in torch.split(codes_nu, _CODE_CHUNK, dim=1):
        # As plus and minus one, a product is agreements minus disagreements: exact in float32.
        signs_nu = chunk_nu.float() * 2 - 1
        total_nn += ((signs_nu @ signs_nu.T + chunk_nu.shape[1]) / 2).double().cpu()
    return total_nn
