"""Data that a network meets once it is trained: classes are found by name, some may be absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from automl.data.dataset import Dataset
from automl.data.importing import cached_dataset, cached_for_network, import_dataset
from automl.data.letterbox import Frame
from automl.data.mixing.copy_paste import pasted_classes
from automl.data.oversampling import image_weights
from automl.errors import DataError
from automl.training.losses import class_weights_from

SIZE = (32, 64)
KNOWN = ("ground", "crack", "dent")


def imported(source: Path, cache: Path, known: tuple[str, ...] = KNOWN) -> Dataset:
    return cached_for_network(str(source), Frame(SIZE), known, cache=cache)


def relabel(folder: Path, table: list[int]) -> None:
    for path in folder.rglob("masks/*.png"):
        Image.fromarray(np.array(table, np.uint8)[np.asarray(Image.open(path))]).save(path)


def all_masks(dataset: Dataset) -> np.ndarray:
    rows = dataset.split("train")
    return np.stack([rows.mask(row) for row in range(len(rows))])


def test_classes_in_another_order_are_those_of_the_same_name(
    split_folder: Path, tmp_path: Path
) -> None:
    as_known = imported(split_folder, tmp_path / "cache")
    relabel(split_folder, [7, 0, 3])
    (split_folder / "dataset.yaml").write_text("classes: {0: crack, 3: dent, 7: ground}\n")
    moved = imported(split_folder, tmp_path / "cache")
    assert moved.info.classes == KNOWN
    np.testing.assert_array_equal(all_masks(moved), all_masks(as_known))
    assert moved.info.fingerprint == as_known.info.fingerprint
    assert moved.info.class_pixel_share == as_known.info.class_pixel_share
    assert moved.warnings == ()


@pytest.mark.parametrize("declared", ["[ground, crack, dent]", "{0: ground, 2: dent}"])
def test_a_class_that_is_absent_from_train_is_a_warning(
    split_folder: Path, tmp_path: Path, declared: str
) -> None:
    relabel(split_folder, [0, 0, 2])
    (split_folder / "dataset.yaml").write_text(f"name: toy\nclasses: {declared}\n")
    dataset = imported(split_folder, tmp_path / "cache")
    assert dataset.warnings == ("class 'crack' is absent from train: nothing more is learnt of it",)
    assert dataset.info.classes == KNOWN
    assert dataset.info.absent_from_train == ("crack",)
    assert set(np.unique(all_masks(dataset))) == {0, 2}


def test_an_ordinary_import_refuses_what_a_network_has_taken(
    split_folder: Path, tmp_path: Path
) -> None:
    relabel(split_folder, [0, 0, 2])
    taken = imported(split_folder, tmp_path / "cache")
    told = "class 'crack'.* is absent from the masks of train"
    with pytest.raises(DataError, match=told):
        cached_dataset(str(split_folder), size=SIZE, cache=tmp_path / "cache")
    with pytest.raises(DataError, match=told):
        cached_dataset(str(taken.root), size=SIZE)
    with pytest.raises(DataError, match=told):
        import_dataset(str(split_folder), size=SIZE, destination=tmp_path / "out")
    assert imported(taken.root, tmp_path / "cache").root == taken.root


def test_where_the_classes_agree_the_ordinary_import_serves(
    split_folder: Path, tmp_path: Path
) -> None:
    ordinary = cached_dataset(str(split_folder), size=SIZE, cache=tmp_path / "cache")
    assert imported(split_folder, tmp_path / "cache").root == ordinary.root
    other = imported(split_folder, tmp_path / "cache", ("dent", "ground", "crack"))
    assert other.root != ordinary.root
    table = np.array([1, 2, 0])
    np.testing.assert_array_equal(all_masks(other), table[all_masks(ordinary)])


def test_an_unknown_class_is_refused_with_what_to_write(split_folder: Path, tmp_path: Path) -> None:
    (split_folder / "dataset.yaml").write_text("classes: [ground, oil, dent]\n")
    with pytest.raises(DataError) as caught:
        imported(split_folder, tmp_path / "cache")
    told = str(caught.value)
    assert "does not know oil; allowed: ground, crack, dent, in any order" in told
    assert "`classes: {0: ground, 1: crack}`" in told
    assert not list((tmp_path / "cache" / "datasets").iterdir())


def test_what_is_imported_already_must_have_the_classes_in_order(
    split_folder: Path, tmp_path: Path
) -> None:
    done = import_dataset(str(split_folder), size=SIZE, destination=tmp_path / "out")
    assert imported(done.root, tmp_path / "cache").root == done.root
    with pytest.raises(DataError, match="in their order: dent, ground, crack"):
        imported(done.root, tmp_path / "cache", ("dent", "ground", "crack"))
    with pytest.raises(DataError, match="in their order: a, b"):
        cached_for_network(
            "builtin:surface-defects", Frame((32, 32)), ("a", "b"), cache=tmp_path / "cache"
        )


def test_a_split_without_any_label_is_still_refused(split_folder: Path, tmp_path: Path) -> None:
    (split_folder / "dataset.yaml").write_text("classes: [ground, crack, dent]\nignore_index: 9\n")
    relabel(split_folder / "train", [9, 9, 9])
    with pytest.raises(DataError, match="split train: every pixel of its masks is ignored"):
        imported(split_folder, tmp_path / "cache")


def test_an_absent_class_weighs_nothing_and_draws_nothing(
    split_folder: Path, tmp_path: Path
) -> None:
    """All that asks how rare a class is: the middle one of three never occurs."""
    relabel(split_folder, [0, 0, 2])
    info, split = (found := imported(split_folder, tmp_path / "cache")).info, found.split("train")
    for kind in ("balanced", "effective"):
        weights = class_weights_from(info.class_pixel_share, kind=kind, num_images=5)
        assert weights is not None
        assert weights[1] == 0
        assert (weights[[0, 2]] > 0).all()
    drawn = image_weights(split, np.arange(len(split)), "effective")
    assert np.ptp(drawn) == 0
    assert np.isfinite(drawn).all()
    assert pasted_classes(split.classes_present) == (2,)
