from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from automl.data.dataset import Dataset, is_dataset, open_dataset
from automl.data.writing import BATCH_ROWS, DatasetWriter
from automl.errors import DataError

COUNTS = {"train": BATCH_ROWS * 2 + 3, "val": BATCH_ROWS, "test": 2}
SIZE = (6, 10)


def samples(split: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(len(split))
    return [
        (
            f"{split}/{number}",
            rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8),
            rng.choice(np.array([0, 1, 255], dtype=np.uint8), SIZE),
        )
        for number in range(COUNTS[split])
    ]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    with DatasetWriter(tmp_path, classes=("a", "b"), size=SIZE) as writer:
        for split in ("train", "val", "test"):
            for name, image, mask in samples(split):
                writer.add(split, name, image, mask)
        writer.finish("toy", ignore_index=9)
    return open_dataset(tmp_path)


def test_every_sample_comes_back_as_it_was(dataset: Dataset) -> None:
    for split in ("train", "val", "test"):
        found = dataset.split(split)
        assert len(found) == COUNTS[split]
        for row, (name, image, mask) in enumerate(samples(split)):
            assert found.name(row) == name
            assert np.array_equal(found.image(row), image)
            assert np.array_equal(found.mask(row), mask)


def test_images_are_read_only_views_of_the_mapped_file(dataset: Dataset) -> None:
    split = dataset.split("train")
    before = pa.total_allocated_bytes()
    rows = (0, BATCH_ROWS, COUNTS["train"] - 1)
    views = [view for row in rows for view in (split.image(row), split.mask(row))]
    assert pa.total_allocated_bytes() == before
    maps = [
        [int(side, 16) for side in line.split()[0].split("-")]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith("train.arrow")
    ]
    for view in views:
        assert not view.flags.writeable
        assert view.flags.c_contiguous
        address = view.__array_interface__["data"][0]
        assert any(low <= address and address + view.nbytes <= high for low, high in maps)
    assert np.shares_memory(split.image(5), split.image(5))
    with pytest.raises(ValueError, match="read-only"):
        views[0][0] = 1


def test_info_holds_the_statistics_of_train(dataset: Dataset) -> None:
    info = dataset.info
    images = np.stack([image for _, image, _ in samples("train")]).astype(np.float64)
    masks = np.stack([mask for _, _, mask in samples("train")])
    labelled = images[masks != 255]
    assert info.normalisation.mean == pytest.approx(labelled.mean(axis=0))
    assert info.normalisation.std == pytest.approx(labelled.std(axis=0))
    share = (masks == 1).sum() / (masks != 255).sum()
    assert info.class_pixel_share == pytest.approx((1 - share, share))
    assert info.class_images["test"] == (2, 2)
    assert info.counts == COUNTS
    assert (info.name, info.size, info.ignore_index) == ("toy", SIZE, 9)


def test_datasets_and_splits_pickle_as_paths(dataset: Dataset) -> None:
    blob = pickle.dumps((dataset, dataset.split("val")))
    assert len(blob) < 1000
    copy, split = pickle.loads(blob)
    assert copy.info == dataset.info
    assert np.array_equal(split.image(7), dataset.split("val").image(7))


def test_rows_outside_and_unknown_splits_are_refused(dataset: Dataset) -> None:
    for row in (-1, COUNTS["test"]):
        with pytest.raises(IndexError, match=r"row must be in 0\.\.1"):
            dataset.split("test").image(row)
    with pytest.raises(ValueError, match="split must be one of"):
        dataset.split("dev")  # type: ignore[arg-type]


def test_damage_is_named(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "val.arrow"
    whole = path.read_bytes()
    del dataset
    for change, told in (
        (path.unlink, "missing"),
        (lambda: path.write_bytes(whole[: len(whole) // 2]), "damaged"),
        (lambda: path.write_bytes((tmp_path / "test.arrow").read_bytes()), "holds 2 samples"),
    ):
        change()
        with pytest.raises(DataError, match=told) as caught:
            open_dataset(tmp_path)
        assert str(path) in str(caught.value)


def test_info_file_that_is_no_info_is_named(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    plain = json.loads(path.read_text())
    for text, told in (
        ("{", "cannot be read"),
        ("[]", "format_version must be 2, got None"),
        (json.dumps({**plain, "format_version": 99}), "got 99: import it again"),
        (json.dumps({**plain, "info": {}}), "not a description"),
        (json.dumps({**plain, "warnings": [1]}), "not a description"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=told):
            open_dataset(tmp_path)
    path.unlink()
    assert not is_dataset(tmp_path)
    with pytest.raises(DataError, match="no imported dataset here"):
        open_dataset(tmp_path)


def test_writer_refuses_other_sizes(tmp_path: Path) -> None:
    with (
        DatasetWriter(tmp_path, classes=("a", "b"), size=SIZE) as writer,
        pytest.raises(ValueError, match="size must be"),
    ):
        writer.add("train", "x", np.zeros((6, 6, 3), np.uint8), np.zeros((6, 6), np.uint8))


def test_class_that_vanishes_at_this_size_is_told(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, classes=("a", "b"), size=SIZE) as writer:
        writer.add("train", "x", np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.uint8))
        with pytest.raises(DataError, match=r"no train pixel of class .b. is left at 6x10"):
            writer.finish("toy", ignore_index=None)


def test_flat_images_get_a_positive_standard_deviation(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, classes=("a", "b"), size=SIZE) as writer:
        for label in (0, 1):
            mask = np.full(SIZE, label, np.uint8)
            writer.add("train", "x", np.full((*SIZE, 3), 7, np.uint8), mask)
        info = writer.finish("toy", ignore_index=None)
    assert info.normalisation.mean == (7.0, 7.0, 7.0)
    assert info.normalisation.std == (1.0, 1.0, 1.0)
