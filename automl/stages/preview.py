"""What training will see: images of a dataset before and after augmentation and mixes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from automl.bundle.masks import default_colours, overlay_picture
from automl.data.batching import Batch, BatchSettings, EpochPlan
from automl.data.dataset import Dataset
from automl.data.mixing.layers import MIXES
from automl.errors import UsageError
from automl.records import DatasetInfo
from automl.space.limits import nearest
from automl.space.policies.policy import Policy
from automl.stages.contact_sheet import Entry, Pair, contact_sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What to show: a policy, perhaps a mix that every batch gets, so many images, by a seed."""

    policy: str | Policy
    mix: str | None
    count: int
    seed: int

    def __post_init__(self) -> None:
        if self.mix is not None and self.mix not in MIXES:
            meant = nearest(self.mix, MIXES)
            hint = f"; did you mean {meant}?" if meant is not None else ""
            raise UsageError(f"--mix: given {self.mix!r}; allowed: {', '.join(MIXES)}{hint}")

    @property
    def name(self) -> str:
        """The policy's name, with the mix."""
        name = self.policy if isinstance(self.policy, str) else self.policy.name
        return name if self.mix is None else f"{name} + {self.mix}"


def preview_sheet(dataset: Dataset, preview: Preview) -> Image.Image:
    """Draw the first batch of the first epoch, made as training makes it, beside its originals."""
    split, info = dataset.split("train"), dataset.info
    count = min(preview.count, len(split))
    settings = BatchSettings(
        batch_size=count, augmentation=preview.policy, seed=preview.seed, shuffle=True
    )
    always: dict[str, Any] = {} if preview.mix is None else {preview.mix: 1.0}
    settings = replace(settings, **always)
    plan = EpochPlan(split, settings, 0)
    batch = plan.batch(0)
    assert batch is not None  # one process has all of it
    colours = default_colours(info.classes)
    pairs = [
        Pair(
            before=overlay_picture(split.image(row), split.mask(row), colours),
            after=_after(batch, place, colours),
            caption=split.name(row),
        )
        for place, row in enumerate(plan.rows(0).tolist())
    ]
    height, width = info.size
    subtitle = (
        f"{info.name}: {count} of {len(split)} train images at {height} x {width}, seed "
        f"{preview.seed}; each as it is, and as a network meets it"
    )
    if batch.second_masks_nhw is not None:
        subtitle += f", {batch.first_share:.0%} of it left by mixup"
    return contact_sheet(f"augmentation {preview.name}", subtitle, _legend(info), pairs)


def _after(batch: Batch, place: int, colours: tuple[tuple[int, int, int], ...]) -> Image.Image:
    """An image of a batch; after mixup both of its masks show, each by its share."""
    image_hwc = batch.images_nhwc[place].numpy()
    first = overlay_picture(image_hwc, _labels(batch.masks_nhw[place]), colours)
    if batch.second_masks_nhw is None:
        return first
    second = overlay_picture(image_hwc, _labels(batch.second_masks_nhw[place]), colours)
    return Image.blend(second, first, batch.first_share)


def _labels(mask_hw: Tensor) -> NDArray[np.uint8]:
    labels: NDArray[np.uint8] = mask_hw.numpy()
    return labels


def _legend(info: DatasetInfo) -> list[Entry]:
    """The classes with their shares of the labelled pixels of train."""
    entries = [
        Entry(colour=colour, text=f"{name}  {100 * share:.2g} %")
        for name, colour, share in zip(
            info.classes, default_colours(info.classes), info.class_pixel_share, strict=True
        )
    ]
    return [*entries, Entry(colour=(255, 255, 255), text="not labelled")]
