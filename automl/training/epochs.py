"""What the epochs of a run walk through: which images, in which batches, in how many steps."""

from __future__ import annotations

from functools import cached_property

from automl.data.batching import BatchSettings, EpochPlan, num_batches
from automl.data.dataset import ArrowSplit
from automl.data.subset import Rows, Subsets
from automl.fidelity import scaled_size
from automl.training.ranks import compute_device, global_rank, world_size
from automl.training.schedules import Timetable
from automl.training.settings import FitSettings


class TrainingEpochs:
    """The epochs of a run over a train split, counted from 0.

    Raises ValueError for a split without samples.
    """

    def __init__(self, split: ArrowSplit, settings: FitSettings) -> None:
        if len(split) == 0:
            raise ValueError("the train split has no samples")
        self._split = split
        self._settings = settings
        self._batches = batch_settings(settings)
        self._subsets = Subsets(split, settings.fidelity.seed)

    def plan(self, epoch: int) -> EpochPlan:
        """The batches of an epoch."""
        return EpochPlan(self._split, self._batches, epoch, self._rows(epoch))

    def is_small(self, epoch: int) -> bool:
        """Whether an epoch trains at a smaller size than that of the dataset."""
        size = self._split.size
        return scaled_size(size, self._settings.fidelity.at(epoch + 1).size_share) != size

    @cached_property
    def timetable(self) -> Timetable:
        """The optimizer steps of each epoch."""
        batches = [
            num_batches(len(self._rows(epoch)), self._batches)
            for epoch in range(self._settings.epochs)
        ]
        return Timetable(tuple(-(-count // self._settings.accumulate) for count in batches))

    @property
    def pieces(self) -> int:
        """The pieces of each batch: of every batch as many on all ranks, none of them empty."""
        ranks = world_size()
        images = max(ranks, min(self._settings.batch_size, len(self._split)))
        return min(self._settings.micro_batches, images // ranks)

    def _rows(self, epoch: int) -> Rows:
        """The rows of the epoch's share of the images: one whole batch of them at least."""
        share = self._settings.fidelity.at(epoch + 1).data_share
        return self._subsets.rows(share, at_least=self._settings.batch_size)


def batch_settings(settings: FitSettings) -> BatchSettings:
    """How this process walks through an epoch of training."""
    return BatchSettings(
        batch_size=settings.batch_size,
        augmentation=settings.augmentation,
        cutmix=settings.cutmix,
        classmix=settings.classmix,
        copy_paste=settings.copy_paste,
        mixup=settings.mixup,
        oversample=settings.oversample,
        views=settings.views,
        seed=settings.seed,
        shuffle=True,
        global_rank=global_rank(),
        world_size=world_size(),
        loader_workers=settings.loader_workers,
        pinned=compute_device(settings.device).type == "cuda",
    )
