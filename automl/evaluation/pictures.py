"""The images of a split with their true masks, at the sizes in which they lie on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from automl.bundle.manifest import Manifest
from automl.data.dataset import ArrowSplit, Dataset, is_dataset, open_dataset
from automl.data.examine import read_sample
from automl.data.faults import refuse
from automl.data.folders import FolderDataset, Sample, survey_folder
from automl.data.import_cache import BUILTINS
from automl.data.importing import cached_dataset, check_source, local_source
from automl.data.known_classes import class_table
from automl.data.letterbox import Frame
from automl.errors import UsageError
from automl.records import SPLITS, Split

UInt8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image (H, W, 3) and its true mask (H, W), in the classes of a bundle."""

    name: str
    image: UInt8
    target: UInt8

    def fitted(self, frame: Frame) -> Picture:
        """Brought into a frame, as an import does it."""
        return Picture(
            name=self.name, image=frame.image(self.image), target=frame.mask(self.target)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSet:
    """A split of a dataset; pictures are read when they are asked for."""

    dataset: str
    split: Split
    source: str
    names: tuple[str, ...]
    read: Callable[[int], Picture] = field(repr=False)

    def __len__(self) -> int:
        return len(self.names)


def open_pictures(source: str, split: Split, manifest: Manifest, *, split_seed: int) -> PictureSet:
    """The pictures of a split of a folder, of an imported dataset, or of a builtin one.

    A builtin dataset is made at the bundle's own size. Classes are told by their names, in any
    order. Raises DataError for a dataset that is not sound, UsageError for other classes than the
    bundle's or a split without images.
    """
    here = local_source(source)
    check_source(here)
    if source in BUILTINS:
        made = cached_dataset(source, size=manifest.input.size, split_seed=split_seed)
        return _imported(made, source, split, manifest)
    if is_dataset(Path(here)):
        return _imported(open_dataset(Path(here)), source, split, manifest)
    return _folder(Path(here), split, manifest, split_seed)


def _imported(dataset: Dataset, source: str, split: Split, manifest: Manifest) -> PictureSet:
    rows = dataset.split(split)
    table = _class_table(source, dataset.info.classes, manifest)
    return PictureSet(
        dataset=dataset.info.name,
        split=split,
        source=source,
        names=tuple(rows.name(row) for row in range(len(rows))),
        read=lambda row: _arrow_picture(rows, row, table),
    )


def _arrow_picture(rows: ArrowSplit, row: int, table: UInt8) -> Picture:
    return Picture(name=rows.name(row), image=rows.image(row), target=table[rows.mask(row)])


def _folder(root: Path, split: Split, manifest: Manifest, split_seed: int) -> PictureSet:
    survey = survey_folder(root, split_seed)
    dataset, samples = survey.dataset, survey.dataset.samples[split]
    # What is wrong with other splits is no hindrance to scoring this one.
    others = {root / other for other in SPLITS if other != split}
    refuse(root, [fault for fault in survey.faults if fault.path not in others])
    table = _class_table(str(root), dataset.classes, manifest)
    return PictureSet(
        dataset=dataset.name,
        split=split,
        source=str(root),
        names=tuple(sample.name for sample in samples),
        read=lambda row: _file_picture(samples[row], dataset, table),
    )


def _file_picture(sample: Sample, dataset: FolderDataset, table: UInt8) -> Picture:
    image, mask = read_sample(sample, dataset)
    return Picture(name=sample.name, image=image, target=table[mask])


def _class_table(source: str, classes: Sequence[str], manifest: Manifest) -> UInt8:
    """The bundle's index of each class of the dataset; 255 stays."""
    if set(classes) != set(manifest.classes):
        raise UsageError(
            f"{source}: its classes are {', '.join(classes)}; the bundle {manifest.name} knows "
            f"{', '.join(manifest.classes)}: name them alike in dataset.yaml"
        )
    return class_table(classes, manifest.classes)
