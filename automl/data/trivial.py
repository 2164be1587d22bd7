"""TrivialAugment: one transform an image, drawn evenly, with a strength drawn evenly.

Source: Müller & Hutter 2021, "TrivialAugment" (arXiv:2103.10158), algorithm 1, with the transforms
and ranges of RandAugment (Cubuk et al. 2020, arXiv:1909.13719), which it calls RA. For
segmentation, geometry moves the mask, too, by the nearest pixel, and the outside mirrors the
picture, labels with it. Strengths are drawn from the whole range instead of 31 steps of it.
"""

from __future__ import annotations

from typing import Any

import albumentations as alb
import cv2

from automl.data.sharpness import Sharpness

#: tan of an angle of 0.3 in radians: RandAugment shears by up to 0.3 of a side.
_SHEAR_DEGREES = 16.7
_ROTATE_DEGREES = 30.0
#: 10 of 32 pixels, on CIFAR.
_SHIFT_SHARE = 10 / 32
#: Factors of colour, contrast, brightness and sharpness.
_FACTORS = (0.1, 1.9)
_STILL = (1.0, 1.0)


def trivial_augment() -> Any:
    """One of 14 transforms, each as often."""
    return alb.OneOf(
        [
            alb.NoOp(p=1.0),
            alb.AutoContrast(p=1.0),
            alb.Equalize(p=1.0),
            _moved(rotate=(-_ROTATE_DEGREES, _ROTATE_DEGREES)),
            alb.Solarize(threshold_range=(0.0, 1.0), p=1.0),
            _factor(saturation=_FACTORS),
            alb.Posterize(num_bits=(4, 8), p=1.0),
            _factor(contrast=_FACTORS),
            _factor(brightness=_FACTORS),
            Sharpness(_FACTORS, p=1.0),
            _moved(shear={"x": (-_SHEAR_DEGREES, _SHEAR_DEGREES), "y": (0.0, 0.0)}),
            _moved(shear={"x": (0.0, 0.0), "y": (-_SHEAR_DEGREES, _SHEAR_DEGREES)}),
            _moved(shift={"x": (-_SHIFT_SHARE, _SHIFT_SHARE), "y": (0.0, 0.0)}),
            _moved(shift={"x": (0.0, 0.0), "y": (-_SHIFT_SHARE, _SHIFT_SHARE)}),
        ],
        p=1.0,
    )


Range = tuple[float, float]


def _moved(
    *,
    rotate: Range = (0.0, 0.0),
    shear: dict[str, Range] | Range = (0.0, 0.0),
    shift: dict[str, Range] | None = None,
) -> Any:
    return alb.Affine(
        rotate=rotate,
        shear=shear,
        translate_percent=shift,
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_REFLECT_101,
        p=1.0,
    )


def _factor(
    *, brightness: Range = _STILL, contrast: Range = _STILL, saturation: Range = _STILL
) -> Any:
    """Blended with black, with its mean grey, or with its grey picture."""
    return alb.ColorJitter(
        brightness=brightness, contrast=contrast, saturation=saturation, hue=(0.0, 0.0), p=1.0
    )
