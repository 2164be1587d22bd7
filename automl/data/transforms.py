"""Declared transforms as albumentations: a builder for each kind of `space/policies`.

Geometry moves image and mask alike, masks by the nearest pixel, so that no label arises; what comes
in from outside is the picture mirrored, labels with it. Holes are grey and labelled as ignored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import albumentations as alb
import cv2

from automl.space.policies.policy import Step

#: How image and mask are taken at places between pixels and outside of the picture.
_SAMPLING: Mapping[str, int] = MappingProxyType(
    {
        "interpolation": cv2.INTER_LINEAR,
        "mask_interpolation": cv2.INTER_NEAREST,
        "border_mode": cv2.BORDER_REFLECT_101,
    }
)
#: An elastic field is smooth over this share of the shorter side.
_SMOOTH_SHARE = 1 / 16
#: Tiles along a side at most, and their sides at least.
_CLAHE_TILES, _CLAHE_SIDE = 8, 32
#: The shortest side of a hole, as a share of the longest.
_SHORTEST_HOLE = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """What a builder must know besides the step: (height, width), and the ignored label."""

    size: tuple[int, int]
    ignore: int


Build = Callable[[Mapping[str, float], float, Canvas], Any]


def build_transform(step: Step, canvas: Canvas) -> Any:
    """The transform of a step; one all of whose settings are 0 leaves everything as it is."""
    if step.changes_nothing:
        return alb.NoOp(p=step.p)
    return BUILDERS[step.kind](step.values, step.p, canvas)


def _affine(values: Mapping[str, float], p: float, _canvas: Canvas) -> Any:
    zoom, rotate, shear, shift = (values[name] for name in ("scale", "rotate", "shear", "shift"))
    return alb.Affine(
        scale=(1 / (1 + zoom), 1 + zoom),
        keep_ratio=True,
        translate_percent=(-shift, shift),
        rotate=(-rotate, rotate),
        shear=(-shear, shear),
        **_SAMPLING,
        p=p,
    )


def _resized_crop(values: Mapping[str, float], p: float, canvas: Canvas) -> Any:
    height, width = canvas.size
    crop = values["crop"]
    stretch = 1 + crop / 3  # of the sides' ratio
    return alb.RandomResizedCrop(
        size=canvas.size,
        scale=(1 - crop, 1.0),
        ratio=(width / height / stretch, width / height * stretch),
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        p=p,
    )


def _elastic(values: Mapping[str, float], p: float, canvas: Canvas) -> Any:
    """White noise, even over -alpha to alpha, smoothed by a Gaussian.

    Its deviation is alpha / sqrt(3). A two-dimensional Gaussian of deviation `sigma` leaves
    1 / (2 sqrt(pi) sigma) of it, the root of the sum of the squared kernel.
    """
    short = min(canvas.size)
    sigma = max(1.0, short * _SMOOTH_SHARE)
    alpha = values["bend"] * short * math.sqrt(3) * 2 * math.sqrt(math.pi) * sigma
    return alb.ElasticTransform(
        alpha=alpha, sigma=sigma, noise_distribution="uniform", **_SAMPLING, p=p
    )


def _clahe(values: Mapping[str, float], p: float, canvas: Canvas) -> Any:
    """Tiles have several pixels for each of 256 values: else the lowest limit changes much."""
    height, width = (max(1, min(_CLAHE_TILES, side // _CLAHE_SIDE)) for side in canvas.size)
    clip_limit = (1.0, 1.0 + values["clip"])
    return alb.CLAHE(clip_limit=clip_limit, tile_grid_size=(width, height), p=p)


def _motion_blur(values: Mapping[str, float], p: float, _canvas: Canvas) -> Any:
    longest = 2 * math.floor((values["length"] + 1) / 2) + 1  # kernels are odd, 3 at least
    if longest < 3:
        return alb.NoOp(p=p)
    return alb.MotionBlur(blur_limit=(3, longest), p=p)


def _hue_saturation(values: Mapping[str, float], p: float, _canvas: Canvas) -> Any:
    return alb.HueSaturationValue(
        hue_shift_limit=values["hue"] / 2,  # OpenCV's circle has 180 steps
        sat_shift_limit=255 * values["saturation"],
        val_shift_limit=255 * values["value"],
        p=p,
    )


def _jpeg(values: Mapping[str, float], p: float, _canvas: Canvas) -> Any:
    lowest = 100 - round(95 * values["loss"])
    return alb.ImageCompression(compression_type="jpeg", quality_range=(lowest, 100), p=p)


def _coarse_dropout(values: Mapping[str, float], p: float, canvas: Canvas) -> Any:
    side = values["side"]
    return alb.CoarseDropout(
        num_holes_range=(1, 4),
        hole_height_range=(_SHORTEST_HOLE * side, side),
        hole_width_range=(_SHORTEST_HOLE * side, side),
        fill=127,
        fill_mask=canvas.ignore,
        p=p,
    )


#: One builder a kind, of the settings, the probability and the canvas.
BUILDERS: Mapping[str, Build] = MappingProxyType(
    {
        "horizontal_flip": lambda _values, p, _canvas: alb.HorizontalFlip(p=p),
        "vertical_flip": lambda _values, p, _canvas: alb.VerticalFlip(p=p),
        "affine": _affine,
        "resized_crop": _resized_crop,
        "perspective": lambda values, p, _canvas: alb.Perspective(
            scale=(0.0, values["warp"]), **_SAMPLING, p=p
        ),
        "elastic": _elastic,
        "grid_distortion": lambda values, p, _canvas: alb.GridDistortion(
            distort_limit=(-values["stretch"], values["stretch"]), **_SAMPLING, p=p
        ),
        "brightness_contrast": lambda values, p, _canvas: alb.RandomBrightnessContrast(
            brightness_limit=values["brightness"], contrast_limit=values["contrast"], p=p
        ),
        "hue_saturation": _hue_saturation,
        "gamma": lambda values, p, _canvas: alb.RandomGamma(
            gamma_limit=(100 / (1 + values["gamma"]), 100 * (1 + values["gamma"])), p=p
        ),
        "grayscale": lambda _values, p, _canvas: alb.ToGray(p=p),
        "equalize": lambda _values, p, _canvas: alb.Equalize(p=p),
        "clahe": _clahe,
        "gaussian_blur": lambda values, p, _canvas: alb.GaussianBlur(
            blur_limit=0, sigma_limit=(0.0, values["sigma"]), p=p
        ),
        "motion_blur": _motion_blur,
        "sharpen": lambda values, p, _canvas: alb.Sharpen(
            alpha=(0.0, values["sharpness"]), lightness=(1.0, 1.0), p=p
        ),
        "gaussian_noise": lambda values, p, _canvas: alb.GaussNoise(
            std_range=(0.0, values["std"]), per_channel=False, p=p
        ),
        "jpeg": _jpeg,
        "coarse_dropout": _coarse_dropout,
    }
)
