"""Count what an exported file gets right: the file itself is scored, not the network behind it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from automl.measurement.confusion import count_confusion
from automl.measurement.image_counts import ImageCounts


class Segmenter(Protocol):
    """Labels images, such as a served network (`automl.bundle.runtime.Session`)."""

    def run(self, image_hwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Label each pixel of a uint8 (H, W, 3) RGB image."""


def counts_of(
    session: Segmenter,
    images: Iterable[NDArray[np.uint8]],
    masks: Iterable[NDArray[np.uint8]],
    num_classes: int,
) -> ImageCounts:
    """Run images (H, W, 3) and count the pixels of each by class.

    `masks` are the targets (H, W), one an image and of its size; 255 is left out. Raises
    ValueError where their number, a shape or a label does not fit.
    """
    pairs = zip(images, masks, strict=True)
    return ImageCounts.of(
        (
            count_confusion(session.run(image_hwc), target_hw, num_classes)
            for image_hwc, target_hw in pairs
        ),
        num_classes,
    )
