"""The loss of a trial: one of regions and one of pixels, mixed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from automl.training.losses.labelled import LabelledPixels
from automl.training.losses.pixel import emphasis, focal, hardest, weight_of_labels, weighted_mean
from automl.training.losses.region import REGION_LOSSES, dice


def dice_loss(
    logits_nkhw: Tensor, target_nhw: Tensor, *, class_weights: Tensor | None = None
) -> Tensor:
    """The Dice loss of a batch (`region.dice`)."""
    return dice(LabelledPixels(logits_nkhw, target_nhw), class_weights)


def focal_loss(
    logits_nkhw: Tensor, target_nhw: Tensor, gamma: float, class_weights: Tensor | None = None
) -> Tensor:
    """The weighted mean over labelled pixels of the focal loss (`pixel.focal`).

    The mean divides by the sum of the pixels' weights, so that `gamma` 0 is exactly the weighted
    cross entropy.
    """
    return CombinedLoss(0.0, gamma, class_weights).forward(logits_nkhw, target_nhw)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossOptions:
    """Which losses are mixed, beyond how; the defaults are Dice and the focal loss of all pixels.

    `region_loss` is a name of `REGION_LOSSES`; `label_smoothing` is taken from each label and
    shared out over the classes; `ohem_share` of the labelled pixels, the hardest ones, are those
    that the pixel loss is of; pixels near a boundary weigh `1 + boundary_weight` times as much in
    it. Raises ValueError for a value outside its limits.
    """

    region_loss: str = "dice"
    label_smoothing: float = 0.0
    ohem_share: float = 1.0
    boundary_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.region_loss not in REGION_LOSSES:
            names = ", ".join(REGION_LOSSES)
            raise ValueError(f"region_loss must be one of {names}, got {self.region_loss!r}")
        if not 0 <= self.label_smoothing <= 0.5:
            raise ValueError(f"label_smoothing must be within 0 to 0.5, got {self.label_smoothing}")
        if not 0 < self.ohem_share <= 1:
            raise ValueError(f"ohem_share must be above 0 and at most 1, got {self.ohem_share}")
        if not self.boundary_weight >= 0:
            raise ValueError(f"boundary_weight must be at least 0, got {self.boundary_weight}")


_DEFAULT_OPTIONS = LossOptions()


class CombinedLoss(nn.Module):
    """`alpha * region + (1 - alpha) * pixel`, with optional class weights (K,).

    The pixel loss is the focal loss with the exponent `gamma`. Raises ValueError for `alpha`
    outside [0, 1], a negative `gamma` or negative weights.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        alpha: float,
        gamma: float,
        class_weights: Tensor | None = None,
        options: LossOptions = _DEFAULT_OPTIONS,
    ) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be within 0 to 1, got {alpha}")
        if not gamma >= 0:
            raise ValueError(f"gamma must be at least 0, got {gamma}")
        if class_weights is not None and bool((class_weights < 0).any()):
            raise ValueError(f"class weights must not be negative, got {class_weights.tolist()}")
        self.alpha = alpha
        self.gamma = gamma
        self.options = options
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits_nkhw: Tensor, target_nhw: Tensor) -> Tensor:
        """The loss of one batch, a scalar."""
        pixels = LabelledPixels(logits_nkhw, target_nhw)
        parts = []
        if self.alpha > 0:
            region_loss = REGION_LOSSES[self.options.region_loss]
            parts.append(self.alpha * region_loss(pixels, self.class_weights))
        if self.alpha < 1:
            parts.append((1 - self.alpha) * self._of_pixels(pixels, target_nhw))
        return torch.stack(parts).sum()

    def weight(self, target_nhw: Tensor) -> Tensor:
        """The sum of the pixels' weights, a scalar: what the pixel loss divides by without OHEM."""
        counted_nhw = emphasis(target_nhw, self.options.boundary_weight)
        return (weight_of_labels(target_nhw, self.class_weights) * counted_nhw).sum()

    def _of_pixels(self, pixels: LabelledPixels, target_nhw: Tensor) -> Tensor:
        lost_nhw = focal(pixels, self.gamma, self.class_weights, self.options.label_smoothing)
        counted_nhw = emphasis(target_nhw, self.options.boundary_weight).to(lost_nhw.dtype)
        if self.options.ohem_share < 1:
            counted_nhw = counted_nhw * hardest(pixels, self.options.ohem_share)
        weight_nhw = weight_of_labels(target_nhw, self.class_weights) * counted_nhw
        return weighted_mean(lost_nhw, counted_nhw, weight_nhw)
