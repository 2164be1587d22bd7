"""Count what an exported file gets right: the file itself is scored, not the network behind it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from automl.bundle.runtime import Session
from automl.measurement.quality import confusion_matrix


def confusion_of(
    session: Session,
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
