"""The parameters of what batches hold."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from automl.space.limits import Limits

DATA: Mapping[str, Limits] = MappingProxyType(
    {
        "augmentation": Limits(
            kind="text",
            options=("none", "light", "medium", "strong", "trivial"),
            open=True,
            description="Augmentation policy: of growing strength, or trivial (TrivialAugment).",
        ),
        "cutmix": Limits(
            kind="float",
            low=0.0,
            high=1.0,
            description="Probability of CutMix, for each batch.",
        ),
        "classmix": Limits(
            kind="float",
            low=0.0,
            high=1.0,
            description="Probability of ClassMix (half of the classes), for each batch.",
        ),
        "copy_paste": Limits(
            kind="float",
            low=0.0,
            high=1.0,
            description="Probability of copying objects, rare classes first, for each batch.",
        ),
        "mixup": Limits(
            kind="float",
            low=0.0,
            high=1.0,
            description="Probability of mixup, for each batch.",
        ),
        "oversample": Limits(
            kind="text",
            options=("none", "effective"),
            description="Whether images with rare classes are drawn more often.",
        ),
    }
)
