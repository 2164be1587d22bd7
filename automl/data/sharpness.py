"""Sharpness by a factor: a picture blended with its smoothed self, as PIL's Sharpness does it.

Source: Cubuk et al. 2019, "AutoAugment" (arXiv:1805.09501), table 6: a factor of 0 gives a blurred
picture, 1 the picture itself; above 1 it is sharpened. Smoothed is by the kernel of PIL's SMOOTH.
"""

from __future__ import annotations

from typing import Any

import albumentations as alb
import cv2
import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]

#: The mean of nine pixels, of which the middle one counts five times.
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def sharpened(image_hwc: UInt8, factor: float) -> UInt8:
    """`smooth + factor * (image - smooth)`, in a new picture; the outermost pixels stay."""
    image = image_hwc.astype(np.float32)
    smooth = cv2.filter2D(image, -1, _SMOOTH)
    blended = np.clip(np.rint(smooth + factor * (image - smooth)), 0, 255).astype(np.uint8)
    result = image_hwc.copy()
    result[1:-1, 1:-1] = blended[1:-1, 1:-1]
    return result


class Sharpness(alb.ImageOnlyTransform):  # type: ignore[misc]  # albumentations has no types
    """Sharpens or blurs a picture by a factor drawn evenly from `factors`."""

    def __init__(self, factors: tuple[float, float], p: float = 0.5) -> None:
        super().__init__(p=p)
        self.factors = factors

    def get_params(self) -> dict[str, Any]:
        """Draw the factor."""
        return {"factor": self.py_random.uniform(*self.factors)}

    def apply(self, img: UInt8, factor: float, **_params: Any) -> UInt8:
        """Give the changed picture."""
        return sharpened(img, factor)
