"""Augmentation policies: of growing strength, TrivialAugment, or declared; on albumentations.

Geometry moves image and mask alike, masks by the nearest pixel; what comes in from outside is the
picture mirrored, labels with it, so that zooming out wastes no pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

# Read by albumentations when it is imported: without it each import asks PyPI for its version.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations as alb
import cv2

from automl.data.threads import OfEachThread, seeded
from automl.data.transforms import Canvas, build_transform
from automl.data.trivial import trivial_augment
from automl.errors import UsageError
from automl.records import IGNORE
from automl.space.policies.policy import Policy

UInt8 = npt.NDArray[np.uint8]

# OpenCV's own threads would compete with those of the training.
cv2.setNumThreads(0)


class Augmentation:
    """Changes an image and its mask at random, the same for the same seed; safe with threads.

    `size` is (height, width); `ignore` is the label of pixels that are blotted out. Raises
    UsageError on an unknown policy.
    """

    def __init__(self, policy: str | Policy, size: tuple[int, int], ignore: int = IGNORE) -> None:
        if isinstance(policy, str) and policy not in POLICIES:
            raise UsageError(f"augmentation must be one of {', '.join(POLICIES)}, got {policy!r}")
        self.policy = policy
        self.size = size
        self.ignore = ignore
        self._pipelines = OfEachThread(lambda: _built(policy, size, ignore))

    def __reduce__(self) -> tuple[type[Augmentation], tuple[str | Policy, tuple[int, int], int]]:
        return Augmentation, (self.policy, self.size, self.ignore)

    def __call__(self, image: UInt8, mask: UInt8, seed: int) -> tuple[UInt8, UInt8]:
        """Give the changed image (H, W, 3) and mask (H, W); the arguments stay as they are."""
        if image.shape != (*self.size, 3) or mask.shape != self.size:
            raise ValueError(f"size must be {self.size}, got {image.shape} and {mask.shape}")
        if self.policy == "none":
            return image, mask
        changed = seeded(self._pipelines(), seed)(image=image, mask=mask)
        return changed["image"], changed["mask"]

    def transforms(self) -> list[dict[str, Any]]:
        """The transforms as built, each with all its settings, in the order of their turns."""
        return [] if self.policy == "none" else _described(self._pipelines())


def policy_transforms(
    policy: str | Policy, size: tuple[int, int], ignore: int = IGNORE
) -> list[dict[str, Any]]:
    """What a table or a declaration says that `Augmentation.transforms` must be."""
    return _described(_built(policy, size, ignore))


def _built(policy: str | Policy, size: tuple[int, int], ignore: int) -> Any:
    if isinstance(policy, str):
        transforms = POLICIES[policy](ignore)
    else:
        canvas = Canvas(size=size, ignore=ignore)
        transforms = [build_transform(step, canvas) for step in policy.steps]
    # The shapes have been checked by `Augmentation`.
    return alb.Compose(transforms, is_check_shapes=False)


def _described(pipeline: Any) -> list[dict[str, Any]]:
    described: list[dict[str, Any]] = pipeline.to_dict()["transform"]["transforms"]
    return described


def _none(_ignore: int) -> list[Any]:
    return []


def _light(_ignore: int) -> list[Any]:
    return [
        alb.HorizontalFlip(p=0.5),
        _move(scale=(0.9, 1.12), rotate=3.0, shear=0.0, p=0.5),
        alb.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1, p=0.5),
    ]


def _medium(_ignore: int) -> list[Any]:
    return [
        alb.HorizontalFlip(p=0.5),
        _move(scale=(0.75, 1.4), rotate=10.0, shear=3.0, p=0.8),
        alb.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.7),
        _tint(hue=5, saturation=15, value=0, p=0.3),
        alb.RandomGamma(gamma_limit=(80, 125), p=0.3),
    ]


def _strong(ignore: int) -> list[Any]:
    return [
        alb.HorizontalFlip(p=0.5),
        _move(scale=(0.5, 2.0), rotate=20.0, shear=8.0, p=0.95),
        alb.RandomBrightnessContrast(brightness_limit=0.35, contrast_limit=0.35, p=0.85),
        _tint(hue=12, saturation=35, value=10, p=0.5),
        alb.RandomGamma(gamma_limit=(65, 155), p=0.4),
        alb.OneOf(
            [
                alb.GaussianBlur(blur_limit=(3, 5), sigma_limit=(0.5, 1.5), p=1.0),
                alb.GaussNoise(std_range=(0.02, 0.06), per_channel=False, p=1.0),
            ],
            p=0.4,
        ),
        alb.CoarseDropout(
            num_holes_range=(1, 4),
            hole_height_range=(0.06, 0.2),
            hole_width_range=(0.06, 0.2),
            fill=127,
            fill_mask=ignore,
            p=0.4,
        ),
    ]


def _trivial(_ignore: int) -> list[Any]:
    return [trivial_augment()]


def _move(*, scale: tuple[float, float], rotate: float, shear: float, p: float) -> Any:
    """Scale, turn (degrees), shear (degrees) and shift; the outside mirrors the picture."""
    return alb.Affine(
        scale=scale,
        keep_ratio=True,
        translate_percent=(-0.08, 0.08),
        rotate=(-rotate, rotate),
        shear=(-shear, shear),
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_REFLECT_101,
        p=p,
    )


def _tint(*, hue: int, saturation: int, value: int, p: float) -> Any:
    return alb.HueSaturationValue(
        hue_shift_limit=hue, sat_shift_limit=saturation, val_shift_limit=value, p=p
    )


#: From weak to strong, then TrivialAugment; each builds its transforms, given the label of pixels
#: that are blotted out.
POLICIES: Mapping[str, Callable[[int], list[Any]]] = {
    "none": _none,
    "light": _light,
    "medium": _medium,
    "strong": _strong,
    "trivial": _trivial,
}
