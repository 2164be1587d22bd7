"""A bundle that answers several images at once, those of the network's own size in one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from automl.bundle.batched import ANY, batched, check_batched, different_images
from automl.bundle.loading import load_sound
from automl.bundle.manifest import Manifest
from automl.bundle.runtime import Session, open_model
from automl.bundle.runtimes import Run, open_onnxruntime
from automl.errors import BundleError

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class BatchedModel:
    """A bundle's own file, and its form for batches where there is one.

    `reason` says why there is none.
    """

    manifest: Manifest
    single: Session
    together: Run | None
    reason: str | None

    @classmethod
    def load(cls, bundle: Path, *, threads: int, batch: int) -> Self:
        """Open a bundle, and with a batch above 1 its form for so many images, which is checked."""
        sound = load_sound(bundle)
        content, size = sound.model(), sound.manifest.input.size
        single = open_model(content, str(bundle), threads=threads)
        if batch == 1:
            return cls(sound.manifest, single, None, None)
        try:
            check_batched(content, different_images((batch, *size, 3)), form=ANY)
        except BundleError as error:
            return cls(sound.manifest, single, None, str(error))
        form = batched(content, size=size, batch=ANY)
        return cls(sound.manifest, single, open_onnxruntime(form, threads=threads), None)

    def predict(self, images: Sequence[Image]) -> list[Image]:
        """The mask of each image (H, W, 3), in their order."""
        masks: dict[int, Image] = {}
        size = tuple(self.manifest.input.size)
        same = [index for index, image in enumerate(images) if image.shape[:2] == size]
        if self.together is not None and len(same) > 1:
            made_nhw = self.together(np.stack([images[index] for index in same]))
            masks = dict(zip(same, made_nhw, strict=True))
        return [
            masks[index] if index in masks else self.single.run(image)
            for index, image in enumerate(images)
        ]
