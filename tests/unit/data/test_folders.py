from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from automl.data.faults import refuse
from automl.data.folders import survey_folder
from automl.errors import DataError


def faults_of(root: Path) -> list[str]:
    return [str(fault) for fault in survey_folder(root, 0).faults]


def relabel(root: Path, table: dict[int, int]) -> None:
    for path in root.rglob("masks/*.png"):
        labels = np.asarray(Image.open(path))
        lookup = np.arange(256, dtype=np.uint8)
        lookup[list(table)] = list(table.values())
        Image.fromarray(lookup[labels]).save(path)


def scan(root, split_seed):
    """The samples of a sound folder; raises as an import does where it is not."""
    survey = survey_folder(root, split_seed)
    refuse(root, survey.faults)
    return survey.dataset


def test_split_folder_pairs_images_with_masks(split_folder: Path) -> None:
    found = scan(split_folder, 0)
    assert (found.name, found.classes, found.labels) == (
        "toy",
        ("ground", "crack", "dent"),
        (0, 1, 2),
    )
    assert {split: len(own) for split, own in found.samples.items()} == {
        "train": 5,
        "val": 3,
        "test": 2,
    }
    sample = found.samples["val"][1]
    assert sample.name == "val1"
    assert sample.image == split_folder / "val/images/val1.png"
    assert sample.mask == split_folder / "val/masks/val1.png"


def test_undivided_folder_is_divided_by_the_seed(flat_folder: Path) -> None:
    found = scan(flat_folder, 0)
    assert [len(found.samples[split]) for split in ("train", "val", "test")] == [14, 3, 3]
    assert scan(flat_folder, 0) == found
    assert scan(flat_folder, 1).samples["train"] != found.samples["train"]


def test_samples_may_lie_in_subfolders_and_suffixes_may_differ(split_folder: Path) -> None:
    image = split_folder / "train/images/train0.png"
    (split_folder / "train/images/town").mkdir()
    (split_folder / "train/masks/town").mkdir()
    Image.open(image).save(split_folder / "train/images/town/a.b.JPG")
    mask = split_folder / "train/masks/train0.png"
    (split_folder / "train/masks/town/a.b.png").write_bytes(mask.read_bytes())
    (split_folder / "train/images/.DS_Store").write_text("")
    names = [sample.name for sample in scan(split_folder, 0).samples["train"]]
    assert "town/a.b" in names


def test_missing_mask_and_missing_image_name_the_files(split_folder: Path) -> None:
    (split_folder / "train/masks/train1.png").unlink()
    (split_folder / "val/images/val2.png").unlink()
    told = faults_of(split_folder)
    assert len(told) == 2
    assert told[0].startswith(f"{split_folder}/train/images/train1.png: this image has no mask")
    assert told[1].startswith(f"{split_folder}/val/masks/val2.png: this mask has no image")
    with pytest.raises(DataError, match="2 faults"):
        scan(split_folder, 0)


def test_empty_split_is_named(split_folder: Path) -> None:
    for path in (split_folder / "val").rglob("*.png"):
        path.unlink()
    assert faults_of(split_folder) == [
        f"{split_folder}/val: split val is empty: it needs images and masks"
    ]


def test_missing_folders_are_named_once(split_folder: Path, tmp_path: Path) -> None:
    (split_folder / "test/masks").rename(split_folder / "test/labels")
    (told,) = faults_of(split_folder)
    assert told.startswith(f"{split_folder}/test: no masks/ here")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert any("no images/ and masks/ here" in fault for fault in faults_of(empty))


def test_two_images_of_one_name_are_a_fault(split_folder: Path) -> None:
    Image.open(split_folder / "train/images/train0.png").save(
        split_folder / "train/images/train0.jpg"
    )
    (told,) = faults_of(split_folder)
    assert "train0.png: has the same name as train0.jpg" in told


def test_files_that_are_no_pictures_are_noted(split_folder: Path) -> None:
    (split_folder / "train/images/readme.txt").write_text("x")
    survey = survey_folder(split_folder, 0)
    assert survey.faults == ()
    assert "readme.txt: not used" in survey.warnings[0]


def test_classes_are_inferred_from_the_masks(split_folder: Path) -> None:
    (split_folder / "dataset.yaml").unlink()
    relabel(split_folder, {2: 5})
    survey = survey_folder(split_folder, 0)
    assert survey.faults == ()
    assert survey.dataset.classes == ("class_0", "class_1", "class_5")
    assert survey.dataset.labels == (0, 1, 5)
    assert "found class_0, class_1, class_5" in survey.warnings[0]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({1: 0, 2: 255}, "classes: {0: background, 255: NAME}"),
        ({2: 255}, "write `ignore_index: 255`"),
        ({1: 0, 2: 0}, "at least 2"),
    ],
)
def test_doubtful_masks_are_not_taken_for_classes(
    split_folder: Path, table: dict[int, int], told: str
) -> None:
    (split_folder / "dataset.yaml").unlink()
    relabel(split_folder, table)
    (fault,) = faults_of(split_folder)
    assert fault.startswith(str(split_folder / "dataset.yaml"))
    assert told in fault


def test_grey_pictures_are_not_taken_for_masks(flat_folder: Path) -> None:
    (flat_folder / "dataset.yaml").unlink()
    for path in (flat_folder / "masks").iterdir():
        Image.open(flat_folder / "images" / path.name).convert("L").save(path)
    assert "looks like grey or anti-aliased" in faults_of(flat_folder)[0]


def test_too_few_samples_to_divide(flat_folder: Path) -> None:
    for path in sorted(flat_folder.rglob("*.png")):
        if path.stem > "sample01":
            path.unlink()
    assert "3 samples or more are needed" in faults_of(flat_folder)[-1]


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        survey_folder(tmp_path / "nowhere", 0)
    (tmp_path / "data.zip").write_text("")
    with pytest.raises(DataError, match=r"data.zip: a file: a dataset is a folder"):
        survey_folder(tmp_path / "data.zip", 0)


def test_links_that_lead_to_no_file_are_told(split_folder: Path, tmp_path: Path) -> None:
    image = split_folder / "train/images/train1.png"
    mask = split_folder / "train/masks/train1.png"
    good = split_folder / "train/images/train2.png"
    kept = tmp_path / "kept.png"
    good.rename(kept)
    good.symlink_to(kept)
    for path in (image, mask):
        path.unlink()
        path.symlink_to("/nowhere/at/all.png")
    (split_folder / "val/images/more").symlink_to(split_folder / "test/images")
    unfollowed = "a link to a folder, which is not followed: link its files instead"
    assert faults_of(split_folder) == [
        f"{image}: a link to /nowhere/at/all.png, which does not exist",
        f"{mask}: a link to /nowhere/at/all.png, which does not exist",
        f"{split_folder}/val/images/more: {unfollowed}",
    ]


@pytest.mark.parametrize(
    ("split", "name"), [("val", "valid"), ("val", "Validation"), ("test", "Test")]
)
def test_split_under_another_name_is_recognised(split_folder: Path, split: str, name: str) -> None:
    (split_folder / split).rename(split_folder / name)
    (told,) = faults_of(split_folder)
    assert told.endswith(f"(call {name}/ {split}/)")
    (split_folder / "train").rename(split_folder / "training")
    (split_folder / ("test" if split == "val" else "val")).rename(split_folder / "else")
    told = faults_of(split_folder)[0]
    assert f"call {name}/ {split}/" in told
    assert "call training/ train/" in told


def test_folders_that_are_not_used_are_told(split_folder: Path) -> None:
    for name in ("images", "masks", "valid"):
        (split_folder / name).mkdir()
    told = survey_folder(split_folder, 0).warnings
    assert told == tuple(
        f"{split_folder}/{name}: not used, for train/, val/, test/ lie beside it"
        for name in ("images", "masks", "valid")
    )


def test_folder_without_a_picture_names_no_classes(flat_folder: Path) -> None:
    (flat_folder / "dataset.yaml").unlink()
    for path in flat_folder.rglob("*.png"):
        path.unlink()
    assert survey_folder(flat_folder, 0).warnings == ()
