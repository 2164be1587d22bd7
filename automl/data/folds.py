"""The folds of a cross-validation as datasets: train and val of a dataset dealt out anew.

Test stays what it is, apart from all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from automl.data.dataset import ArrowSplit, Dataset, open_dataset
from automl.data.stratify import stratified_folds
from automl.data.writing import DatasetWriter
from automl.errors import UsageError
from automl.records import Split
from automl.store.atomic import staged_folder

#: Fewer images than these of a class leave a fold without any to learn from.
_LEAST_IMAGES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """Which fold each image of train, then each of val, is in; classes keep their shares."""

    dataset: Dataset
    fold_of: tuple[int, ...]

    def size(self, fold: int) -> int:
        """The images that a fold is scored on."""
        return self.fold_of.count(fold)

    def write(self, fold: int, destination: Path) -> Dataset:
        """Write the dataset whose val is one fold and whose train are the others."""
        info = self.dataset.info
        rows = _pool(self.dataset)
        with (
            staged_folder(destination) as staged,
            DatasetWriter(
                staged, classes=info.classes, size=info.size, resize=info.resize
            ) as writer,
        ):
            for (split, row), own in zip(rows, self.fold_of, strict=True):
                part: Split = "val" if own == fold else "train"
                writer.add(part, split.name(row), split.image(row), split.mask(row))
            test = self.dataset.split("test")
            for row in range(len(test)):
                writer.add("test", test.name(row), test.image(row), test.mask(row))
            writer.finish(info.name, ignore_index=info.ignore_index)
        return open_dataset(destination)


def deal_folds(dataset: Dataset, folds: int, seed: int) -> Folds:
    """Deal the images of train and val out; UsageError for more folds than the dataset bears."""
    rows = _pool(dataset)
    if not 2 <= folds <= len(rows):
        raise UsageError(
            f"--folds: given {folds}; allowed: 2 to {len(rows)}, the images of train and val"
        )
    classes_of = [
        frozenset(int(label) for label in np.flatnonzero(split.classes_present[row]))
        for split, row in rows
    ]
    for label, name in enumerate(dataset.info.classes):
        images = sum(label in found for found in classes_of)
        if images < _LEAST_IMAGES:
            raise UsageError(
                f"class {name!r} is in {images} of the images of train and val; at least "
                f"{_LEAST_IMAGES} are needed, so that no fold has to do without"
            )
    return Folds(dataset=dataset, fold_of=tuple(stratified_folds(classes_of, folds, seed)))


def _pool(dataset: Dataset) -> list[tuple[ArrowSplit, int]]:
    splits = (dataset.split("train"), dataset.split("val"))
    return [(split, row) for split in splits for row in range(len(split))]
