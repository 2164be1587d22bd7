"""An image at the size of a network, stretched or letterboxed; the graph of a bundle does the same.

A letterboxed image of S = (H, W) in a network of N = (h, w) has along each axis, with S' and N' of
the other axis,

    scaled = min(N, max(1, round(S * N' / S'))),   before = (N - scaled) // 2

where a half is rounded up: the axis that is the tighter fit is filled, the other keeps the ratio.
All of it is whole numbers, so that `bundle.wrap` computes the same for any size. The image is in
the middle since training mirrors and turns images: padding on one side only would then be met in
places where no image has it when the network is used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from automl.data.decode import UInt8, resize_image, resize_mask
from automl.records import IGNORE
from automl.resize import STRETCH, Resize

Size = tuple[int, int]
T = TypeVar("T", bound=np.generic)

_ANY_COLOUR = (0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Where an image lies in a frame: its first row and column, and its height and width."""

    top: int
    left: int
    height: int
    width: int

    def of(self, values: NDArray[T]) -> NDArray[T]:
        """The part of a frame's values (h, w, ...) that is the image."""
        return values[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True, slots=True)
class Frame:
    """What images are brought to: `size` is (height, width), `resize` says how."""

    size: Size
    resize: Resize = STRETCH

    def for_counting(self) -> Frame:
        """The frame with some colour where there is none, to look at labelled pixels alone."""
        resize = self.resize
        if not resize.is_letterbox or resize.padding is not None:
            return self
        return replace(self, resize=replace(resize, padding=_ANY_COLOUR))

    def box(self, image: Size) -> Box:
        """Where an image of (height, width) will lie; where it is stretched that is everywhere."""
        height, width = self.size
        if self.resize.is_letterbox:
            height, width = (_scaled(image, self.size, axis) for axis in (0, 1))
        top, left = (self.size[0] - height) // 2, (self.size[1] - width) // 2
        return Box(top=top, left=left, height=height, width=width)

    def image(self, image_hwc: UInt8) -> UInt8:
        """The image in the frame; raises ValueError where padding has no colour yet."""
        box = self.box((image_hwc.shape[0], image_hwc.shape[1]))
        scaled = resize_image(image_hwc, (box.height, box.width))
        if scaled.shape[:2] == self.size:
            return scaled
        if self.resize.padding is None:
            raise ValueError("a letterbox needs the colour of its padding, got none")
        padded = np.empty((*self.size, 3), np.uint8)
        padded[:] = self.resize.padding
        box.of(padded)[:] = scaled
        return padded

    def mask(self, mask_hw: UInt8) -> UInt8:
        """The mask in the frame, as `image` puts its image there; padding is ignored."""
        box = self.box((mask_hw.shape[0], mask_hw.shape[1]))
        scaled = resize_mask(mask_hw, (box.height, box.width))
        if scaled.shape == self.size:
            return scaled
        padded = np.full(self.size, IGNORE, np.uint8)
        box.of(padded)[:] = scaled
        return padded


def _scaled(image: Size, size: Size, axis: int) -> int:
    own, other = image[axis], image[1 - axis]
    rounded = (2 * own * size[1 - axis] + other) // (2 * other)
    return min(size[axis], max(1, rounded))
