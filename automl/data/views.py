"""Two random views of each image, for learning from images without labels.

The transforms are SimCLR's: a random crop enlarged to the whole picture, a mirror image, colours
that are shifted and at times taken away, and a blur. Source: Chen et al. 2020 (arXiv:2002.05709),
appendix A; crops keep at least a fifth of the area, as small pictures of whole scenes hold little.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

# Read by albumentations when it is imported: without it each import asks PyPI for its version.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations as alb

from automl.data.batching import Batch
from automl.data.dataset import ArrowSplit, UInt8
from automl.data.threads import OfEachThread, prepared, seeded

#: Shares of the area that a crop may keep.
_CROP = (0.2, 1.0)

#: The jitter of colours, of SimCLR's strength 0.5: brightness, contrast, saturation, then hue.
_JITTER, _HUE = (0.6, 1.4), 0.1

#: Tell the streams of random numbers of one epoch apart.
_ORDER, _VIEWS = 0, 1


class RandomView:
    """Gives a random view of an image, the same for the same seed; safe with threads.

    `size` is (height, width).
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._pipelines = OfEachThread(lambda: _built(size))

    def __call__(self, image: UInt8, seed: int) -> UInt8:
        """A view of the image (H, W, 3), which stays as it is."""
        view: UInt8 = seeded(self._pipelines(), seed)(image=image)["image"]
        return view


def _built(size: tuple[int, int]) -> Any:
    return alb.Compose(
        [
            alb.RandomResizedCrop(size=size, scale=_CROP, p=1.0),
            alb.HorizontalFlip(p=0.5),
            alb.ColorJitter(
                brightness=_JITTER,
                contrast=_JITTER,
                saturation=_JITTER,
                hue=(-_HUE, _HUE),
                p=0.8,
            ),
            alb.ToGray(p=0.2),
            alb.GaussianBlur(blur_limit=(3, 5), sigma_limit=(0.1, 2.0), p=0.5),
        ]
    )


@dataclass(frozen=True, slots=True)
class PairedViews:
    """The batches of one epoch: of `batch_size` images each, two views of every one.

    Rows 0 to N - 1 of a batch are the first views, rows N to 2 N - 1 the second ones, in the same
    order. The last incomplete batch is left out unless it is the only one. Masks are empty.
    `loader_workers` threads prepare batches ahead; 0 prepares each when asked.
    """

    split: ArrowSplit
    batch_size: int
    seed: int
    loader_workers: int = 0

    @property
    def images(self) -> int:
        """The images of each batch."""
        return min(self.batch_size, len(self.split))

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        return len(self.split) // self.images

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, counted from 0; they depend on the seed and the epoch alone."""
        view = RandomView(self.split.size)
        order = self._stream(epoch, _ORDER).permutation(len(self.split))

        def batch(number: int) -> Batch:
            rows = order[number * self.images : (number + 1) * self.images]
            pairs = [
                view(self.split.image(int(row)), self._seed(epoch, int(row), turn))
                for turn in (0, 1)
                for row in rows
            ]
            return Batch(
                images_nhwc=torch.from_numpy(np.stack(pairs)),
                masks_nhw=torch.zeros(len(pairs), 1, 1, dtype=torch.int64),
            )

        return prepared(batch, range(len(self)), self.loader_workers)

    def _stream(self, epoch: int, *purpose: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self.seed, epoch, *purpose]))

    def _seed(self, epoch: int, row: int, turn: int) -> int:
        return int(self._stream(epoch, _VIEWS, row, turn).integers(2**31))
