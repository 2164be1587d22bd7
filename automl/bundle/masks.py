"""Masks as pictures: PNG with a palette, class indices to programs and colours to people."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from automl.records import IGNORE

Colour = tuple[int, int, int]

_BACKGROUND: Colour = (0, 0, 0)
_IGNORED: Colour = (255, 255, 255)
_GOLDEN_RATIO = 0.618034


def default_colours(classes: Sequence[str]) -> tuple[Colour, ...]:
    """A colour a class; a class named `background` is black, others are far from each other.

    Hues advance by the golden ratio of the circle, which spreads any number of them evenly.
    """
    return tuple(
        _BACKGROUND if name.lower() == "background" else _vivid(index)
        for index, name in enumerate(classes)
    )


def mask_picture(mask_hw: NDArray[np.uint8], colours: Sequence[Colour]) -> Image.Image:
    """A mask as a palette picture: its pixels are the class indices, 255 shows as white."""
    palette = [channel for colour in colours for channel in colour]
    palette += [0] * (3 * IGNORE - len(palette)) + list(_IGNORED)
    picture = Image.fromarray(np.ascontiguousarray(mask_hw))
    picture.putpalette(palette)
    return picture


def overlay_picture(
    image_hwc: NDArray[np.uint8], mask_hw: NDArray[np.uint8], colours: Sequence[Colour]
) -> Image.Image:
    """The image, half covered by the colours of its classes; black ones leave it as it is."""
    table = np.full((256, 3), _IGNORED, np.uint8)
    table[: len(colours)] = np.array(colours, np.uint8)
    paint_hwc = table[mask_hw]
    painted = paint_hwc.any(axis=2, keepdims=True)
    mixed = ((image_hwc.astype(np.uint16) + paint_hwc + 1) // 2).astype(np.uint8)
    return Image.fromarray(np.where(painted, mixed, image_hwc))


def png_bytes(picture: Image.Image) -> bytes:
    """A picture as the content of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _vivid(index: int) -> Colour:
    saturation, value = ((0.85, 0.95), (0.6, 0.95), (0.9, 0.65))[index % 3]
    rgb = colorsys.hsv_to_rgb(index * _GOLDEN_RATIO % 1.0, saturation, value)
    red, green, blue = (round(255 * channel) for channel in rgb)
    return red, green, blue
