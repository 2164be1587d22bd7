"""Batches of one epoch; what they hold depends on the seed, the epoch and the sample alone.

Neither the number of loader threads nor that of processes changes which samples a global batch
holds, or how they are augmented and mixed.

Shapes: N batch, H and W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch

from automl.data.augment import Augmentation
from automl.data.dataset import ArrowSplit, UInt8
from automl.data.mixing.copy_paste import pasted_classes
from automl.data.mixing.layers import MIXES, Ground, Layer, layer, mixed, stream_of
from automl.data.mixing.sample import Sample
from automl.data.oversampling import OVERSAMPLING, drawn_rows, image_weights, repeats_before
from automl.data.threads import prepared
from automl.space.policies.policy import Policy

#: Tell the streams of random numbers of one epoch apart.
_ORDER, _AUGMENT = 0, 1  # those of the mixes: `data/mixing/layers.py`


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Images (N, H, W, 3) uint8 RGB, and masks (N, H, W) uint8 with 255 where ignored.

    After mixup the masks of the partners are the second ones, and `first_share` is what is left of
    the first images: the loss is to be mixed alike. Of fixed views `samples_n` (N,) are the numbers
    of what the batch holds: the view's times the rows of the split, plus the row.
    """

    images_nhwc: torch.Tensor
    masks_nhw: torch.Tensor
    second_masks_nhw: torch.Tensor | None = None
    first_share: float = 1.0
    samples_n: torch.Tensor | None = None

    def pinned(self) -> Batch:
        """The same in memory that a GPU copies from while the host goes on."""
        seconds = self.second_masks_nhw
        return replace(
            self,
            images_nhwc=self.images_nhwc.pin_memory(),
            masks_nhw=self.masks_nhw.pin_memory(),
            second_masks_nhw=None if seconds is None else seconds.pin_memory(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """How one process walks through a split.

    `batch_size` counts the samples of the global batch, over all `world_size` processes.
    `shuffle` is for training: a new order each epoch, the last incomplete global batch left out
    unless it is the only one. Without it each sample comes exactly once over all processes, in
    order. `augmentation` is the name of a built-in policy, or a declared one. `cutmix`, `classmix`,
    `copy_paste` and `mixup` are the probabilities of these mixes for each global batch
    (`data/mixing`). `oversample`, in training, says which images come more often than others
    (`data/oversampling.py`). With `views` above 0 an image is augmented in so many ways
    alone, which the epochs go through in turn; nothing is mixed then. `loader_workers` threads
    prepare batches ahead; 0 prepares each when asked. `pinned` batches lie in memory that a GPU
    copies from while the host goes on; it needs one.
    """

    batch_size: int
    augmentation: str | Policy = "none"
    cutmix: float = 0.0
    classmix: float = 0.0
    copy_paste: float = 0.0
    mixup: float = 0.0
    oversample: str = "none"
    views: int = 0
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
        for mix in MIXES:
            if not 0.0 <= getattr(self, mix) <= 1.0:
                raise ValueError(f"{mix} is a probability, 0 to 1, got {getattr(self, mix)}")
        if self.oversample not in OVERSAMPLING:
            names = ", ".join(OVERSAMPLING)
            raise ValueError(f"oversample must be one of {names}, got {self.oversample!r}")
        check_views(self.views, [mix for mix in MIXES if getattr(self, mix)])
        if self.seed < 0 or self.loader_workers < 0:
            raise ValueError(
                "seed and loader_workers must not be negative, "
                f"got {self.seed} and {self.loader_workers}"
            )


def check_views(views: int, mixes: Sequence[str]) -> None:
    """Raise ValueError where views cannot be fixed: partners of mixes change with the epoch."""
    if views < 0 or (views > 0 and mixes):
        raise ValueError(
            "views must be at least 0, and 0 where images are mixed, "
            f"got {views} with {', '.join(mixes) if mixes else 'no mix'}"
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
        made = prepared(self.batch, range(len(self)), self.settings.loader_workers)
        with closing(made):
            yield from (batch for batch in made if batch is not None)

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

    def mixes(self, name: str, number: int) -> bool:
        """Whether a mix is applied to global batch `number`."""
        return self._mixing(name, number) is not None

    def batch(self, number: int) -> Batch | None:
        """What this process has of global batch `number`, or None where it has none."""
        settings = self.settings
        rows = self.rows(number)
        mine = range(settings.global_rank, len(rows), settings.world_size)
        if not mine:
            return None
        layers = self._layers(number)
        samples = mixed(layers, mine, lambda place: self._sample(number, place))
        seconds = [sample.second_hw for sample in samples if sample.second_hw is not None]
        batch = Batch(
            images_nhwc=torch.from_numpy(np.stack([sample.image_hwc for sample in samples])),
            masks_nhw=_labels([sample.mask_hw for sample in samples]),
            second_masks_nhw=_labels(seconds) if seconds else None,
            first_share=layers[-1].share if seconds else 1.0,
            samples_n=self._numbers(rows[list(mine)]) if settings.views else None,
        )
        return batch.pinned() if settings.pinned else batch

    def _numbers(self, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(self._view * len(self.split) + rows)

    @property
    def _view(self) -> int:
        return self.epoch % self.settings.views

    def _layers(self, number: int) -> list[Layer]:
        """The mixes of global batch `number`, in their order."""
        drawn = {name: self._mixing(name, number) for name in MIXES}
        ground = Ground(size=self.split.size, classes=lambda: self._pasted_classes)
        return [
            layer(
                name,
                rng,
                ground,
                len(self.rows(number)),
                partial(self._stream, stream_of(name), number),
            )
            for name, rng in drawn.items()
            if rng is not None
        ]

    def _mixing(self, name: str, number: int) -> np.random.Generator | None:
        """What a mix draws from in global batch `number`, or None where it is not applied."""
        rng = self._stream(stream_of(name), number)
        return rng if rng.random() < getattr(self.settings, name) else None

    @cached_property
    def _pasted_classes(self) -> tuple[int, ...]:
        return pasted_classes(self.split.classes_present[self.pool])

    def _ordered(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The rows of a training epoch, in its order."""
        rng = self._stream(_ORDER)
        if self.settings.oversample == "none":
            return rng.permutation(rows)
        return drawn_rows(rows, image_weights(self.split, rows, self.settings.oversample), rng)

    def _sample(self, number: int, place: int) -> Sample:
        """What global batch `number` has at a place; a row that comes again is augmented anew."""
        row = int(self.rows(number)[place])
        image, mask = self.split.image(row), self.split.mask(row)
        if self.settings.augmentation == "none":
            return Sample(image, mask)
        if self.settings.views:
            # As the epoch of the view's number would augment the row's first appearance.
            fixed = np.random.SeedSequence([self.settings.seed, self._view, _AUGMENT, row])
            return Sample(*self.augmentation(image, mask, int(fixed.generate_state(1)[0])))
        position = (number * self.settings.batch_size + place) % len(self._rows)
        repeat = int(self._repeats[position])
        sequence = self._sequence(_AUGMENT, row, *([repeat] if repeat else []))
        return Sample(*self.augmentation(image, mask, int(sequence.generate_state(1)[0])))

    def _stream(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng(self._sequence(*purpose))

    def _sequence(self, *purpose: int) -> np.random.SeedSequence:
        return np.random.SeedSequence([self.settings.seed, self.epoch, *purpose])


def _labels(masks: Sequence[UInt8]) -> torch.Tensor:
    """Masks as one array of labels, a copy."""
    return torch.from_numpy(np.stack(masks))
