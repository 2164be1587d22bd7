from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from automl.data.check import check_folder


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


def test_all_faults_come_together_and_are_cut_at_twenty(flat_folder: Path) -> None:
    for path in sorted((flat_folder / "masks").iterdir())[:13]:
        change_mask(path, 77)
    for path in sorted((flat_folder / "images").iterdir())[:11]:
        path.write_text("broken")
    report = check_folder(flat_folder)
    assert len(report.faults) == 24
    text = report.summary()
    assert "24 faults:" in text
    assert text.count("77 on") + text.count("not an image") == 20
    assert text.endswith("… and 4 more")
