"""Batches of one epoch; what they hold depends on the seed, the epoch and the sample alone.

Neither the number of loader threads nor that of processes changes which samples a global batch
holds, or how they are augmented and mixed.

Shapes: N batch, H and W pixels, C channels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from automl.data.augment import Augmentation
from automl.data.dataset import ArrowSplit, UInt8
from automl.data.oversampling import OVERSAMPLING, drawn_rows, image_weights, repeats_before

#: Tell the streams of random numbers of one epoch apart.
_ORDER, _AUGMENT, _CUTMIX = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Images (N, H, W, 3) uint8 RGB, and masks (N, H, W) int64 with 255 where ignored."""

    images_nhwc: torch.Tensor
    masks_nhw: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """How one process walks through a split.

    `batch_size` counts the samples of the global batch, over all `world_size` processes.
    `shuffle` is for training: a new order each epoch, the last incomplete global batch left out
    unless it is the only one. Without it each sample comes exactly once over all processes, in
    order. `cutmix` is the probability of CutMix for each global batch. `oversample`, in training,
    says which images come more often than others (`data/oversampling.py`). `loader_workers` threads
    prepare batches ahead; 0 prepares each when asked. `pinned` batches lie in memory that a GPU
    copies from while the host goes on; it needs one.
    """

    batch_size: int
    augmentation: str = "none"
    cutmix: float = 0.0
    oversample: str = "none"
    seed: int = 0
    shuffle: bool = False
    global_rank: int = 0
    world_size: int = 1
    loader_workers: int = 0
    pinned: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.world_size <= self.batch_size:
            raise ValueError(
                "batch_size must be at least world_size, and that at least 1; "
                f"got batch_size {self.batch_size}, world_size {self.world_size}"
            )
        if not 0 <= self.global_rank < self.world_size:
            raise ValueError(
                f"global_rank must be in 0..{self.world_size - 1}, got {self.global_rank}"
            )
        if not 0.0 <= self.cutmix <= 1.0:
            raise ValueError(f"cutmix is a probability, 0 to 1, got {self.cutmix}")
        if self.oversample not in OVERSAMPLING:
            names = ", ".join(OVERSAMPLING)
            raise ValueError(f"oversample must be one of {names}, got {self.oversample!r}")
        if self.seed < 0 or self.loader_workers < 0:
            raise ValueError(
                "seed and loader_workers must not be negative, "
                f"got {self.seed} and {self.loader_workers}"
            )


def num_batches(length: int, settings: BatchSettings) -> int:
    """Global batches of an epoch over `length` samples."""
    if settings.shuffle:
        return min(length, max(1, length // settings.batch_size))
    return -(-length // settings.batch_size)


def epoch_batches(split: ArrowSplit, settings: BatchSettings, epoch: int) -> Iterator[Batch]:
    """Give this process's part of each global batch of an epoch.

    Training gives every process as many batches; otherwise a process may get none of the last one.
    """
    return EpochPlan(split, settings, epoch).batches()


def cutmix_box(rng: np.random.Generator, size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns to paste: an area share drawn evenly, cut off at the picture's edges.

    Source: Yun et al. 2019, "CutMix", eq. 2 and 3, with lambda of Beta(1, 1).
    """
    share = float(np.sqrt(1.0 - rng.random()))
    spans = []
    for side in size:
        centre, half = int(rng.integers(side)), round(side * share) // 2
        spans.append(slice(max(0, centre - half), min(side, centre + half)))
    return spans[0], spans[1]


class EpochPlan:
    """Every batch of an epoch, by its number; may be asked from several threads.

    `rows`, ascending, are those of the split that the epoch draws from, its `pool`; None: all.
    """

    def __init__(
        self,
        split: ArrowSplit,
        settings: BatchSettings,
        epoch: int,
        rows: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.settings = settings
        self.epoch = epoch
        self.augmentation = Augmentation(settings.augmentation, split.size)
        self.split = split
        self.pool = np.arange(len(split)) if rows is None else rows
        self._rows = self._ordered(self.pool) if settings.shuffle else self.pool
        self._repeats = repeats_before(self._rows)

    @property
    def epoch_rows(self) -> npt.NDArray[np.int64]:
        """The rows of the epoch in its order, those of a last incomplete batch included."""
        return self._rows

    @property
    def num_rows(self) -> int:
        """How many samples the epoch walks through, those of a last incomplete batch included."""
        return len(self._rows)

    def __len__(self) -> int:
        """The number of global batches."""
        return num_batches(self.num_rows, self.settings)

    def batches(self) -> Iterator[Batch]:
        """Give this process its part of each global batch, in order."""
        numbers = range(len(self))
        if self.settings.loader_workers == 0:
            return (batch for batch in map(self.batch, numbers) if batch is not None)
        return _prepared(self, numbers, self.settings.loader_workers)

    def some_batches(self, count: int) -> Iterator[Batch]:
        """Give this process its part of the first `count` global batches, or of all there are."""
        batches = map(self.batch, range(min(count, len(self))))
        return (batch for batch in batches if batch is not None)

    def rows(self, number: int) -> npt.NDArray[np.int64]:
        """The rows of global batch `number`, over all processes."""
        settings = self.settings
        first = number * settings.batch_size
        rows = self._rows[first : first + settings.batch_size]
        if settings.shuffle and len(rows) < settings.world_size:
            rows = np.resize(rows, settings.world_size)  # a process without a sample would hang
        return rows

    def mixes(self, number: int) -> bool:
        """Whether CutMix is applied to global batch `number`."""
        return self._mixing(number) is not None

    def batch(self, number: int) -> Batch | None:
        """What this process has of global batch `number`, or None where it has none."""
        settings = self.settings
        rows = self.rows(number)
        mine = range(settings.global_rank, len(rows), settings.world_size)
        if not mine:
            return None
        rng = self._mixing(number)
        if rng is not None:
            images, masks = self._mixed(number, mine, rng)
        else:
            images, masks = _stacked([self._sample(number, place) for place in mine])
        images_nhwc = torch.from_numpy(images)
        masks_nhw = torch.from_numpy(masks.astype(np.int64))
        if settings.pinned:
            images_nhwc, masks_nhw = images_nhwc.pin_memory(), masks_nhw.pin_memory()
        return Batch(images_nhwc=images_nhwc, masks_nhw=masks_nhw)

    def _mixing(self, number: int) -> np.random.Generator | None:
        """What CutMix draws from in global batch `number`, or None where it is not applied."""
        rng = self._stream(_CUTMIX, number)
        return rng if rng.random() < self.settings.cutmix else None

    def _mixed(
        self, number: int, mine: Sequence[int], rng: np.random.Generator
    ) -> tuple[UInt8, UInt8]:
        """Paste one box of each sample's partner into it; partners come from the global batch."""
        partners = rng.permutation(len(self.rows(number)))
        box = cutmix_box(rng, self.split.size)
        needed = sorted({*mine, *(int(partners[place]) for place in mine)})
        samples = {place: self._sample(number, place) for place in needed}
        images, masks = _stacked([samples[place] for place in mine])
        for own, place in enumerate(mine):
            image, mask = samples[int(partners[place])]
            images[own][box] = image[box]
            masks[own][box] = mask[box]
        return images, masks

    def _ordered(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The rows of a training epoch, in its order."""
        rng = self._stream(_ORDER)
        if self.settings.oversample == "none":
            return rng.permutation(rows)
        return drawn_rows(rows, image_weights(self.split, rows, self.settings.oversample), rng)

    def _sample(self, number: int, place: int) -> tuple[UInt8, UInt8]:
        """What global batch `number` has at a place; a row that comes again is augmented anew."""
        row = int(self.rows(number)[place])
        image, mask = self.split.image(row), self.split.mask(row)
        if self.settings.augmentation == "none":
            return image, mask
        position = (number * self.settings.batch_size + place) % len(self._rows)
        repeat = int(self._repeats[position])
        sequence = self._sequence(_AUGMENT, row, *([repeat] if repeat else []))
        return self.augmentation(image, mask, int(sequence.generate_state(1)[0]))

    def _stream(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng(self._sequence(*purpose))

    def _sequence(self, *purpose: int) -> np.random.SeedSequence:
        return np.random.SeedSequence([self.settings.seed, self.epoch, *purpose])


def _stacked(samples: Sequence[tuple[UInt8, UInt8]]) -> tuple[UInt8, UInt8]:
    """Samples as one array of images and one of masks, both copies."""
    return np.stack([image for image, _ in samples]), np.stack([mask for _, mask in samples])


def _prepared(plan: EpochPlan, numbers: Sequence[int], workers: int) -> Iterator[Batch]:
    """The batches in order, two a worker made ahead by threads."""
    waiting: deque[Future[Batch | None]] = deque()
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="automl-loader")
    try:
        for number in numbers:
            waiting.append(pool.submit(plan.batch, number))
            if len(waiting) > 2 * workers:
                batch = waiting.popleft().result()
                if batch is not None:
                    yield batch
        while waiting:
            batch = waiting.popleft().result()
            if batch is not None:
                yield batch
    finally:
        pool.shutdown(cancel_futures=True)
