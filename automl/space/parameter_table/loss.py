"""The parameters of the loss."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from automl.space.limits import Limits

LOSS: Mapping[str, Limits] = MappingProxyType(
    {
        "alpha": Limits(
            kind="float",
            low=0.0,
            high=1.0,
            description="Loss = alpha * region loss + (1 - alpha) * pixel loss, which is "
            "focal(gamma).",
        ),
        "region_loss": Limits(
            kind="text",
            options=("dice", "foreground_dice", "generalised_dice", "lovasz"),
            description="Loss of the overlap of regions.",
        ),
        "gamma": Limits(
            kind="float",
            low=0.0,
            high=5.0,
            description="Focusing exponent of the focal loss; 0 is plain cross-entropy.",
        ),
        "class_weights": Limits(
            kind="text",
            options=("none", "balanced", "effective"),
            description="Whether rare classes weigh more in the loss: by the inverse root of their "
            "share of the pixels, or by their effective number of samples, which is steeper.",
        ),
        "label_smoothing": Limits(
            kind="float",
            low=0.0,
            high=0.5,
            description="Share of each label that the pixel loss spreads over all classes.",
        ),
        "ohem_share": Limits(
            kind="float",
            above=0.0,
            high=1.0,
            description="Share of the pixels, the hardest ones, that the pixel loss is of (OHEM); "
            "1 is all.",
        ),
        "boundary_weight": Limits(
            kind="float",
            low=0.0,
            high=20.0,
            description="Extra weight, in the pixel loss, of pixels near a boundary of labels.",
        ),
        "deep_supervision": Limits(
            kind="float",
            low=0.0,
            high=10.0,
            description="Weight of the same loss on coarser maps of the encoder, by heads that "
            "only training has; 0 is none.",
        ),
    }
)
