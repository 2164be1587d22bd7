"""Weights of classes, from how often they occur."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from automl.data.effective import effective_number


def class_weights_from(shares: Sequence[float], *, kind: str, num_images: int = 1) -> Tensor | None:
    """Class weights from each class's share of the labelled pixels of `num_images` train images.

    `balanced` is `w_k ~ share_k^-1/2`. `effective` is `w_k ~ 1 / E_k` with the effective number
    `E_k` of a class's samples (`data/effective.py`). Neighbouring pixels tell much the same, so a
    sample is not a pixel but an image's worth of them:
    `n_k = share_k * num_images`, whatever the size of the images. Up to some hundred such images
    these weights are nearly `1 / share_k`, much further apart than the balanced ones; a class with
    thousands of them weighs as if it had 1000. Source: Cui et al. 2019 (arXiv:1901.05555), eq. 2.

    Either way a pixel drawn at random weighs 1 on average, and a class without pixels weighs 0, as
    it never occurs. `none` gives None. Raises ValueError where no class has a positive share, and
    for another kind.
    """
    if kind == "none":
        return None
    if kind not in _RAW_WEIGHTS:
        raise ValueError(f"kind must be one of none, {', '.join(_RAW_WEIGHTS)}, got {kind!r}")
    share_k = torch.tensor(shares, dtype=torch.float64)
    if not bool((share_k > 0).any()) or bool((share_k < 0).any()):
        raise ValueError(f"shares must be non-negative with one positive, got {tuple(shares)}")
    raw_k = torch.where(share_k > 0, _RAW_WEIGHTS[kind](share_k.clamp_min(1e-12), num_images), 0.0)
    return (raw_k / (raw_k * share_k).sum() * share_k.sum()).float()


def _effective(samples_k: Tensor) -> Tensor:
    return torch.from_numpy(effective_number(samples_k.numpy()))


#: The weights of each kind before they are scaled.
_RAW_WEIGHTS: Mapping[str, Callable[[Tensor, int], Tensor]] = MappingProxyType(
    {
        "balanced": lambda share_k, _num_images: share_k.rsqrt(),
        "effective": lambda share_k, images: 1 / _effective(share_k * images),
    }
)
