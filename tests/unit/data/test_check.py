from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from automl.data.check import check_folder
from automl.data.faults import refuse
from automl.data.letterbox import Frame
from automl.errors import DataError


def change_mask(path: Path, value: int, count: int = 64) -> None:
    labels = np.array(Image.open(path))
    labels.ravel()[20 : 20 + count] = value
    Image.fromarray(labels).save(path)


def told_by(root: Path) -> list[str]:
    return [str(fault) for fault in check_folder(root).faults]


def test_sound_folder_has_counts_and_no_fault(split_folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = check_folder(split_folder, progress=lambda done, total: seen.append((done, total)))
    assert report.faults == ()
    assert report.counts == {"train": 5, "val": 3, "test": 2}
    assert [row.name for row in report.classes] == ["ground", "crack", "dent"]
    assert sum(row.train_pixel_share for row in report.classes) == pytest.approx(1.0)
    assert report.classes[1].images == {"train": 5, "val": 3, "test": 2}
    assert seen == [(done, 10) for done in range(1, 11)]
    assert "toy" in report.summary()
    assert "train 5, val 3, test 2" in report.summary()


def test_sizes_that_differ_are_told_with_both(split_folder: Path) -> None:
    path = split_folder / "val/masks/val0.png"
    Image.open(path).resize((10, 12), Image.Resampling.NEAREST).save(path)
    (told,) = told_by(split_folder)
    assert told.startswith(f"{path}: the mask is 10x12, its image ")
    assert "val/images/val0.png 64x32 (width x height)" in told


def test_mask_of_a_turned_image_is_explained(split_folder: Path) -> None:
    path = split_folder / "val/images/val0.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    (told,) = told_by(split_folder)
    assert "EXIF orientation: turn the mask too" in told


@pytest.mark.parametrize("value", [3, 255])
def test_labels_out_of_range_are_told_with_their_values(split_folder: Path, value: int) -> None:
    path = split_folder / "train/masks/train3.png"
    change_mask(path, value)
    (told,) = told_by(split_folder)
    assert told.startswith(f"{path}: labels out of range: {value} on 3.1 % of the pixels")
    assert "allowed are 0..2" in told
    assert ("ignore_index: 255" in told) == (value == 255)


def test_0_255_mask_is_recognised(split_folder: Path) -> None:
    path = split_folder / "train/masks/train3.png"
    labels = np.array(Image.open(path))
    Image.fromarray(np.where(labels > 0, 255, 0).astype(np.uint8)).save(path)
    (told,) = told_by(split_folder)
    assert "looks like a 0/255 mask" in told
    assert "classes: {0: background, 255: NAME}" in told


def test_anti_aliased_and_jpeg_masks_are_recognised(split_folder: Path) -> None:
    smooth = split_folder / "train/masks/train1.png"
    ramp = np.linspace(0, 255, 32 * 64).reshape(32, 64).astype(np.uint8)
    Image.fromarray(ramp).save(smooth)
    lossy = split_folder / "train/masks/train2.png"
    Image.fromarray(ramp).save(lossy.with_suffix(".jpg"))
    lossy.unlink()
    told = told_by(split_folder)
    assert any("grey or anti-aliased" in line and "more values)" in line for line in told)
    assert any("JPEG changes the labels" in line for line in told)


def test_colour_mask_is_named(split_folder: Path) -> None:
    path = split_folder / "test/masks/test1.png"
    path.write_bytes((split_folder / "test/images/test1.png").read_bytes())
    (told,) = told_by(split_folder)
    assert told.startswith(f"{path}: a colour mask")
    assert told.count(str(path)) == 1


def test_unreadable_image_and_mask_are_both_named(split_folder: Path) -> None:
    image = split_folder / "train/images/train0.png"
    image.write_bytes(image.read_bytes()[:100])
    mask = split_folder / "train/masks/train0.png"
    mask.write_text("no picture")
    told = told_by(split_folder)
    assert [text.split(": ")[0] for text in told] == [str(image), str(mask)]


def test_class_absent_from_train_is_told_with_where_it_is(split_folder: Path) -> None:
    for path in (split_folder / "train/masks").iterdir():
        labels = np.array(Image.open(path))
        Image.fromarray(np.minimum(labels, 1)).save(path)
    (told,) = told_by(split_folder)
    assert told.startswith(str(split_folder / "dataset.yaml"))
    assert "class 'dent' (value 2) is absent from the masks of train" in told
    assert "3 of val, 2 of test" in told


def test_class_absent_from_val_is_a_warning(split_folder: Path) -> None:
    for path in (split_folder / "val/masks").iterdir():
        labels = np.array(Image.open(path))
        Image.fromarray(np.minimum(labels, 1)).save(path)
    report = check_folder(split_folder)
    assert report.faults == ()
    assert report.warnings == ("class 'dent' is absent from val: it is not scored there",)


def test_the_same_image_in_two_splits_is_a_warning(split_folder: Path) -> None:
    copy = split_folder / "test/images/test0.png"
    copy.write_bytes((split_folder / "train/images/train4.png").read_bytes())
    (warning,) = check_folder(split_folder).warnings
    assert str(copy) in warning
    assert "train4.png" in warning


def test_all_faults_are_told_by_a_check_and_twenty_by_a_refusal(flat_folder: Path) -> None:
    for path in sorted((flat_folder / "masks").iterdir())[:13]:
        change_mask(path, 77)
    for path in sorted((flat_folder / "images").iterdir())[:11]:
        path.write_text("broken")
    report = check_folder(flat_folder)
    assert len(report.faults) == 24
    text = report.summary()
    assert "24 faults:" in text
    assert text.count("77 on") + text.count("not an image") == 24
    with pytest.raises(DataError) as caught:
        refuse(flat_folder, report.faults)
    told = str(caught.value)
    assert told.count("77 on") + told.count("not an image") == 20
    assert told.endswith(f"… and 4 more: automl data check {flat_folder} lists all")


def fill_masks(folder: Path, value: int) -> None:
    for path in folder.glob("*.png"):
        Image.fromarray(np.full_like(np.array(Image.open(path)), value)).save(path)


def declare_ignored(root: Path) -> None:
    (root / "dataset.yaml").write_text("classes: [ground, crack, dent]\nignore_index: 255\n")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_split_without_a_labelled_pixel_is_told(split_folder: Path, split: str) -> None:
    declare_ignored(split_folder)
    fill_masks(split_folder / split / "masks", 255)
    (told,) = told_by(split_folder)
    assert told == (
        f"{split_folder}: split {split}: every pixel of its masks is ignored: "
        "there is nothing to learn or to score"
    )


def test_what_resizing_loses_is_told_with_what_held_it(split_folder: Path) -> None:
    declare_ignored(split_folder)
    for path in (split_folder / "train/masks").iterdir():
        change_mask(path, 0, count=32 * 64)
        labels = np.minimum(np.array(Image.open(path)), 1)
        Image.fromarray(labels).save(path)
    rare = split_folder / "train/masks/train2.png"
    change_mask(rare, 2, count=3)
    fill_masks(split_folder / "val/masks", 255)
    labels = np.full((32, 64), 255, dtype=np.uint8)
    labels[0, 0] = 1
    Image.fromarray(labels).save(split_folder / "val/masks/val1.png")
    for number in range(5):
        path = split_folder / f"train/masks/train{number}.png"
        labels = np.array(Image.open(path))
        labels[16:24] = 1
        Image.fromarray(labels).save(path)
    assert told_by(split_folder) == []
    assert check_folder(split_folder, frame=Frame((32, 64))).faults == ()
    told = [str(fault) for fault in check_folder(split_folder, frame=Frame((8, 8))).faults]
    image = split_folder / "train/images/train2.png"
    place = "at 8x8 (height x width): choose a larger size"
    expected = [
        f"no train pixel of class 'dent' (most of it had {image}, 3 pixels) is left {place}",
        f"no labelled pixel of split val is left {place}",
    ]
    assert told == [f"{split_folder}: {problem}" for problem in expected]


def test_summary_is_in_plain_words(split_folder: Path) -> None:
    path = split_folder / "train/masks/train3.png"
    change_mask(path, 77, count=32 * 64)
    text = check_folder(split_folder).summary()
    assert "1 fault:" in text
    assert "77 on 99.0 % of the pixels" in text
    (split_folder / "dataset.yaml").write_text("clases: [a, b]\n")
    assert "train 5, val 3, test 2 images" in check_folder(split_folder).summary()


def test_empty_split_is_told_once_and_not_by_each_class(split_folder: Path) -> None:
    for path in (split_folder / "val").rglob("*.png"):
        path.unlink()
    report = check_folder(split_folder)
    assert [str(fault) for fault in report.faults] == [
        f"{split_folder}/val: split val is empty: it needs images and masks"
    ]
    assert report.warnings == ()
