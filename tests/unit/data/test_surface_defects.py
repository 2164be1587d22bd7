from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from automl.data.dataset import Dataset
from automl.data.importing import import_dataset
from automl.data.surface_defects import (
    CLASSES,
    PIT,
    RUST,
    SCRATCH,
    VERSION,
    make_picture,
    pictures,
    write_dataset,
    write_folder,
)

FEW = {"train": 6, "val": 5, "test": 5}

#: Of the pictures below. Where it changes on purpose, VERSION must change with it.
KNOWN = (2, "a1d29bc67ddfa01278759f726585acf1a5d2c5e471e462db554d5258040f14a7")

HASH = """
import hashlib
from automl.data.surface_defects import pictures
total = hashlib.sha256()
for split, name, image, mask in pictures((64, 96), 3, {"train": 6, "val": 5, "test": 5}):
    total.update(split.encode() + name.encode() + image.tobytes() + mask.tobytes())
print(total.hexdigest())
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("defects")
    write_dataset(root, (96, 96), 0, {"train": 100, "val": 20, "test": 20})
    return Dataset(root)


def test_another_process_makes_the_same_pictures() -> None:
    total = hashlib.sha256()
    for split, name, image, mask in pictures((64, 96), 3, FEW):
        total.update(split.encode() + name.encode() + image.tobytes() + mask.tobytes())
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    other = subprocess.run(
        [sys.executable, "-c", HASH], capture_output=True, text=True, check=True, env=environment
    )
    assert other.stdout.strip() == total.hexdigest()
    assert (VERSION, total.hexdigest()) == KNOWN


def test_seeds_and_splits_give_different_pictures() -> None:
    def first(seed: int, split: str) -> bytes:
        counts = {"train": 0, "val": 0, "test": 0, split: 1}
        return b"".join(image.tobytes() for _, _, image, _ in pictures((32, 32), seed, counts))

    assert len({first(0, "train"), first(1, "train"), first(0, "val"), first(0, "test")}) == 4


def test_defects_are_rare_and_many_pictures_free_of_them(dataset: Dataset) -> None:
    info = dataset.info
    assert info.classes == CLASSES
    share = dict(zip(CLASSES, info.class_pixel_share, strict=True))
    assert 0.003 < share["scratch"] < 0.015
    assert 0.001 < share["pit"] < 0.006
    assert 0.008 < share["rust"] < 0.04
    free = [row for row in range(100) if not dataset.split("train").mask(row).any()]
    assert len(free) == 35


def test_every_split_has_the_same_mixture(dataset: Dataset) -> None:
    images = dataset.info.class_images
    assert images["train"][1:] == tuple(5 * count for count in images["val"][1:])
    assert images["val"] == images["test"]
    assert images["val"][1:] == (6, 6, 6)


def test_four_pictures_hold_every_class() -> None:
    counts = {"train": 4, "val": 4, "test": 4}
    for seed in range(5):
        found: dict[str, set[int]] = {"train": set(), "val": set(), "test": set()}
        for split, _, _, mask in pictures((32, 32), seed, counts):
            found[split] |= set(np.unique(mask).tolist())
        assert all(labels == {0, SCRATCH, PIT, RUST} for labels in found.values())


@pytest.mark.parametrize("size", [(32, 32), (64, 160), (160, 96)])
def test_every_size_shows_the_defects_asked_for(size: tuple[int, int]) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        image, mask = make_picture(size, rng, (PIT, RUST))
        assert image.shape == (*size, 3)
        assert image.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, PIT, RUST}


def test_defects_change_the_picture_where_the_mask_says() -> None:
    changes = []
    for seed in range(12):
        bare, _ = make_picture((96, 96), np.random.default_rng(seed), ())
        worn, mask = make_picture((96, 96), np.random.default_rng(seed), (RUST,))
        # The same metal; the camera's noise differs, which medians do not mind.
        red_bare, red_worn = (picture[..., 0] / picture[..., 2].clip(1) for picture in (bare, worn))
        ratio = red_worn / red_bare.clip(0.1)
        changes.append(np.median(ratio[mask == RUST]) / np.median(ratio[mask == 0]))
    assert np.median(changes) > 1.2  # rust is redder than what it grows on


def test_brightness_alone_does_not_tell_defects(dataset: Dataset) -> None:
    """The best grey threshold of the whole split is a poor detector: the task needs a model."""
    split = dataset.split("train")
    grey = np.stack([split.image(row).mean(axis=2) for row in range(100)])
    truth = np.stack([split.mask(row) > 0 for row in range(100)])
    guesses = [found for level in range(10, 240, 10) for found in (grey < level, grey > level)]
    ious = [(found & truth).sum() / (found | truth).sum() for found in guesses]
    assert max(ious) < 0.2


def test_exported_folder_imports_as_the_same_dataset(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", size=(64, 96), seed=5, counts=FEW)
    (tmp_path / "direct").mkdir()
    write_dataset(tmp_path / "direct", (64, 96), 5, FEW)
    imported = import_dataset(
        str(tmp_path / "folder"), size=(64, 96), destination=tmp_path / "imported"
    )
    assert imported.info == Dataset(tmp_path / "direct").info
