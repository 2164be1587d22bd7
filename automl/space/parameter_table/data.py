"""The parameters of what batches hold."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from automl.space.limits import Limits

DATA: Mapping[str, Limits] = MappingProxyType(
    {
        "augmentation": Limits(
            kind="text",
            options=("none", "light", "medium", "strong"),
            description="Strength of the augmentation policy.",
        ),
        "cutmix": Limits(
            kind="float",
            low=0.0,
            high=1.0,
            description="Probability of CutMix, for each batch.",
        ),
        "oversample": Limits(
            kind="text",
            options=("none", "effective"),
            description="Whether images with rare classes are drawn more often.",
        ),
    }
)
