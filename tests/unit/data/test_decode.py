from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from automl.data.decode import read_image, read_mask, resize_image, resize_mask
from automl.errors import DataError

GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


def saved(folder: Path, picture: Image.Image, name: str = "picture.png") -> Path:
    path = folder / name
    picture.save(path)
    return path


def test_grey_is_repeated_in_three_channels(tmp_path: Path) -> None:
    image = read_image(saved(tmp_path, Image.fromarray(GREY)))
    assert image.dtype == np.uint8
    assert np.array_equal(image, np.stack([GREY] * 3, axis=2))


def test_16_bit_grey_is_scaled_by_its_full_range(tmp_path: Path) -> None:
    deep = np.array([[0, 257, 65535], [128, 129, 32768]], dtype=np.uint16)
    image = read_image(saved(tmp_path, Image.fromarray(deep)))
    assert image[..., 0].tolist() == [[0, 1, 255], [0, 1, 128]]
    assert (image == image[..., :1]).all()


def test_alpha_is_dropped_and_palette_resolved(tmp_path: Path) -> None:
    rgba = np.dstack([GREY, GREY + 1, GREY + 2, np.zeros_like(GREY)])
    assert np.array_equal(read_image(saved(tmp_path, Image.fromarray(rgba))), rgba[..., :3])
    coloured = Image.fromarray(GREY // 100).convert("P")
    coloured.putpalette([9, 8, 7, 6, 5, 4, 3, 2, 1])
    image = read_image(saved(tmp_path, coloured))
    assert {tuple(pixel) for pixel in image.reshape(-1, 3).tolist()} == {
        (9, 8, 7),
        (6, 5, 4),
        (3, 2, 1),
    }


def test_palette_with_transparency_needs_no_warning(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY // 100).convert("P")
    path = tmp_path / "clear.png"
    picture.save(path, transparency=bytes([0, 128, 255]))
    assert read_image(path).shape == (4, 6, 3)


def test_exif_orientation_turns_the_image_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held turned by 90 degrees
    path = tmp_path / "turned.png"
    Image.fromarray(GREY).save(path, exif=exif)
    assert np.array_equal(read_image(path)[..., 0], np.rot90(GREY, k=-1))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    whole = saved(tmp_path, Image.effect_noise((64, 64), 50), "whole.jpg").read_bytes()
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole[: len(whole) // 2])
    for path, reason in (
        (text, "not an image"),
        (cut, "truncated"),
        (tmp_path / "no.png", "no su"),
    ):
        with pytest.raises(DataError, match=reason) as caught:
            read_image(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_floating_point_pixels_are_refused(tmp_path: Path, read: object) -> None:
    path = saved(tmp_path, Image.fromarray(GREY.astype(np.float32)), "float.tiff")
    with pytest.raises(DataError, match="floating-point"):
        read(path)  # type: ignore[operator]


def test_masks_keep_their_values(tmp_path: Path) -> None:
    labels = GREY // 50
    palette = Image.fromarray(labels).convert("P")
    palette.putpalette(list(range(30)))
    pictures = {
        "grey": Image.fromarray(labels),
        "palette": palette,
        "equal": Image.fromarray(np.dstack([labels] * 3)),
        "deep": Image.fromarray(labels.astype(np.uint16)),
    }
    for name, picture in pictures.items():
        found = read_mask(saved(tmp_path, picture, f"{name}.png"))
        assert np.array_equal(found, labels), name
    bits = saved(tmp_path, Image.fromarray(labels > 2), "bits.png")
    assert np.array_equal(read_mask(bits), labels > 2)


def test_colour_mask_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(np.dstack([GREY, GREY, GREY + 1])))
    with pytest.raises(DataError, match="colour mask") as caught:
        read_mask(path)
    assert str(path) in str(caught.value)


def test_resized_masks_hold_no_new_label_and_images_are_averaged() -> None:
    board = (np.indices((32, 32)).sum(axis=0) % 2 * 200).astype(np.uint8)
    assert set(np.unique(resize_mask(board, (13, 9)))) <= {0, 200}
    small = resize_image(np.dstack([board] * 3), (8, 8))
    assert small.shape == (8, 8, 3)
    assert np.abs(small.astype(int) - 100).max() <= 2


def test_decoding_needs_neither_torch_nor_albumentations() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'albumentations', 'cv2', 'pyarrow'): sys.modules[name] = None\n"
        "import automl.data.decode\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
