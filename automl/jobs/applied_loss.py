"""The proof that a trial's loss is the one that was sampled."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from automl.data.effective import BETA
from automl.records import DatasetInfo
from automl.space.parameters import TrialParameters
from automl.training.losses import CombinedLoss

_CLOSE = 1e-6

LossProof = Callable[[CombinedLoss, TrialParameters, DatasetInfo], str | None]


def other_in_loss(
    name: str, params: TrialParameters, info: DatasetInfo, step_loss: object
) -> str | None:
    """What a loss has of parameter `name` instead of what was sampled, or None where they agree."""
    modules = step_loss.modules() if isinstance(step_loss, nn.Module) else ()
    losses = [module for module in modules if isinstance(module, CombinedLoss)]
    if len(losses) != 1:
        return f"{len(losses)} losses that know of it"
    return LOSS_PROOFS[name](losses[0], params, info)


def equal(live: float, wanted: float) -> bool:
    """Whether two numbers differ by no more than rounding."""
    return math.isclose(live, wanted, rel_tol=_CLOSE)


def _other_number(live: float, wanted: float) -> str | None:
    return None if equal(live, wanted) else f"{live:g}"


def _other_region_loss(loss: CombinedLoss, params: TrialParameters, _: DatasetInfo) -> str | None:
    live = loss.options.region_loss
    return None if live == params.region_loss else live


def _other_class_weights(
    loss: CombinedLoss, params: TrialParameters, info: DatasetInfo
) -> str | None:
    """Times what they are the inverse of, weights are all the same; none are none."""
    weights_k = loss.class_weights
    if params.class_weights == "none":
        return None if weights_k is None else f"weights {weights_k.tolist()}"
    if weights_k is None:
        return "no weights"
    share_k = torch.tensor(info.class_pixel_share, dtype=torch.float64)
    inverse_k = _INVERSES[params.class_weights](share_k, info.counts["train"])
    level_k = (weights_k.cpu() * inverse_k)[share_k > 0]
    right = bool((level_k > 0).all()) and bool(torch.isclose(level_k, level_k[0]).all())
    return None if right else f"weights {weights_k.tolist()}"


#: What the weights of each kind are the inverse of, but for their scale.
_INVERSES: Mapping[str, Callable[[Tensor, int], Tensor]] = MappingProxyType(
    {
        "balanced": lambda share_k, _images: share_k.sqrt(),
        "effective": lambda share_k, images: 1 - BETA ** (share_k * images),
    }
)

#: One proof a parameter of the loss.
LOSS_PROOFS: Mapping[str, LossProof] = MappingProxyType(
    {
        "alpha": lambda loss, params, _info: _other_number(loss.alpha, params.alpha),
        "region_loss": _other_region_loss,
        "gamma": lambda loss, params, _info: _other_number(loss.gamma, params.gamma),
        "class_weights": _other_class_weights,
        "label_smoothing": lambda loss, params, _info: _other_number(
            loss.options.label_smoothing, params.label_smoothing
        ),
        "ohem_share": lambda loss, params, _info: _other_number(
            loss.options.ohem_share, params.ohem_share
        ),
        "boundary_weight": lambda loss, params, _info: _other_number(
            loss.options.boundary_weight, params.boundary_weight
        ),
    }
)
