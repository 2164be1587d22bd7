"""Small folder datasets, made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE = (32, 64)

MakeFolder = Callable[..., Path]


def save_pair(folder: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
    for kind, values in (("images", image), ("masks", mask)):
        path = folder / kind / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)


def random_pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image, and a mask that holds all of three classes."""
    image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    mask = rng.integers(0, 3, SIZE, dtype=np.uint8)
    mask[0, :3] = [0, 1, 2]
    return image, mask


@pytest.fixture
def split_folder(tmp_path: Path) -> Path:
    """A sound dataset of three classes: 5 train, 3 val, 2 test samples."""
    root = tmp_path / "source"
    rng = np.random.default_rng(0)
    for split, count in (("train", 5), ("val", 3), ("test", 2)):
        for number in range(count):
            save_pair(root / split, f"{split}{number}", *random_pair(rng))
    (root / "dataset.yaml").write_text("name: toy\nclasses: [ground, crack, dent]\n")
    return root


@pytest.fixture
def flat_folder(tmp_path: Path) -> Path:
    """A sound dataset without splits: 20 samples of three classes."""
    root = tmp_path / "flat"
    rng = np.random.default_rng(1)
    for number in range(20):
        save_pair(root, f"sample{number:02d}", *random_pair(rng))
    (root / "dataset.yaml").write_text("classes: [ground, crack, dent]\n")
    return root
