"""What the epochs of a trial train on: rungs of epochs, and a share of data and size up to each.

Pure values and functions; everything that compares trials, plans them or trains them reads them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

#: Sides of images are multiples of it: what encoders divide them by.
SIDE_UNIT = 32


def rung_epochs(min_epochs: int, max_epochs: int, eta: int) -> tuple[int, ...]:
    """The epochs after which trials are compared: min_epochs * eta^k below max_epochs.

    Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2.
    """
    if min_epochs < 1 or eta < 2:
        raise ValueError(f"min_epochs >= 1 and eta >= 2 must hold, got {min_epochs} and {eta}")
    rungs = []
    epochs = min_epochs
    while epochs < max_epochs:
        rungs.append(epochs)
        epochs *= eta
    return tuple(rungs)


def scaled_size(size: tuple[int, int], share: float) -> tuple[int, int]:
    """The share of (height, width) in pixels, each the nearest multiple of 32, at least 32.

    A share of 1 is the size as it is, whatever its sides.
    """
    if share == 1:
        return size
    height, width = (
        min(side, max(1, math.floor(side * share / SIDE_UNIT + 0.5)) * SIDE_UNIT) for side in size
    )
    return height, width


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The epochs after the stretch before it, up to and with `last_epoch`, counted from 1.

    They train on `data_share` of the training images, at `size_share` of their height and width.
    """

    last_epoch: int
    data_share: float = 1.0
    size_share: float = 1.0

    def __post_init__(self) -> None:
        if self.last_epoch < 1:
            raise ValueError(f"last_epoch must be at least 1, got {self.last_epoch}")
        for name in ("data_share", "size_share"):
            share = getattr(self, name)
            if not 0 < share <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {share}")

    def cost(self, size: tuple[int, int]) -> float:
        """What an epoch costs in full epochs at `size`: the share of images times that of pixels.

        A proxy: what is not spent in training steps, such as scoring, is at full size always.
        """
        height, width = scaled_size(size, self.size_share)
        return self.data_share * (height * width) / (size[0] * size[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """The stretches of a run, in order; without any, every epoch trains on all there is.

    `seed` draws which images belong to a share: runs that are compared have the same one.
    """

    stretches: tuple[Stretch, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        ends = self.last_epochs
        if any(after <= before for before, after in pairwise(ends)):
            raise ValueError(f"each stretch must end after the one before it, got ends {ends}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")

    @property
    def last_epochs(self) -> tuple[int, ...]:
        """Where each stretch ends."""
        return tuple(stretch.last_epoch for stretch in self.stretches)

    def at(self, epoch: int) -> Stretch:
        """The stretch of an epoch, counted from 1; past the last one, all there is."""
        for stretch in self.stretches:
            if epoch <= stretch.last_epoch:
                return stretch
        return Stretch(last_epoch=epoch)

    def costs(self, epochs: int, size: tuple[int, int]) -> tuple[float, ...]:
        """What each of `epochs` epochs costs, in full ones at `size` (height, width)."""
        return tuple(self.at(epoch).cost(size) for epoch in range(1, epochs + 1))


#: Every epoch on all images at full size.
FULL = Fidelity()
