"""Count what an exported file gets right: the file itself is scored, not the network behind it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from automl.measurement.quality import confusion_matrix


class Segmenter(Protocol):
    """Labels images, such as a served network (`automl.bundle.runtime.Session`)."""

    def run(self, image_hwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Label each pixel of a uint8 (H, W, 3) RGB image."""


def confusion_of(
    session: Segmenter,
    images: Iterable[NDArray[np.uint8]],
    masks: Iterable[NDArray[np.uint8]],
    num_classes: int,
) -> NDArray[np.int64]:
    """Run images (H, W, 3) and count pixels by class: int64 (K, K), row = target.

    `masks` are the targets (H, W), one an image and of its size; 255 is left out. Raises
    ValueError where their number, a shape or a label does not fit.
    """
    total = np.zeros((num_classes, num_classes), np.int64)
    for image_hwc, target_hw in zip(images, masks, strict=True):
        mask_hw = session.run(image_hwc)
        # Targets are read-only views of a memory map, which torch does not take: copy.
        pred, target = torch.from_numpy(mask_hw), torch.from_numpy(target_hw.copy())
        total += confusion_matrix(pred[None], target[None], num_classes).numpy()
    return total
