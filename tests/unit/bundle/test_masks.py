import io

import numpy as np
import pytest
from PIL import Image

from automl.bundle.masks import default_colours, mask_picture, overlay_picture, png_bytes


@pytest.mark.parametrize("num_classes", [1, 2, 11, 60])
def test_colours_differ_and_background_is_black(num_classes):
    colours = default_colours(["Background", *(f"c{k}" for k in range(num_classes - 1))])
    assert colours[0] == (0, 0, 0)
    assert len(set(colours)) == num_classes
    assert all(max(colour) > 150 for colour in colours[1:])


def test_without_a_background_every_class_is_visible():
    assert (0, 0, 0) not in default_colours(["sky", "road"])


def test_png_holds_indices_for_programs_and_colours_for_people():
    mask_hw = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)
    colours = ((0, 0, 0), (250, 10, 20), (30, 40, 240))
    picture = Image.open(io.BytesIO(png_bytes(mask_picture(mask_hw, colours))))
    assert picture.mode == "P"
    np.testing.assert_array_equal(np.asarray(picture), mask_hw)
    seen = np.asarray(picture.convert("RGB"))
    assert tuple(seen[0, 1]) == colours[1]
    assert tuple(seen[1, 0]) == colours[2]
    assert tuple(seen[1, 1]) == (255, 255, 255)


def test_overlay_mixes_in_the_colour_and_leaves_black_classes_alone():
    image_hwc = np.full((1, 2, 3), 101, np.uint8)
    picture = overlay_picture(image_hwc, np.array([[0, 1]], np.uint8), ((0, 0, 0), (255, 1, 0)))
    assert np.asarray(picture).tolist() == [[[101, 101, 101], [178, 51, 51]]]


def test_same_mask_gives_the_same_bytes():
    mask_hw = np.arange(12, dtype=np.uint8).reshape(3, 4)
    colours = default_colours([str(k) for k in range(12)])
    first, second = (png_bytes(mask_picture(mask_hw, colours)) for _ in range(2))
    assert first == second
