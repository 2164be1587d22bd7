"""TrivialAugment: one transform an image."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from automl.data.augment import Augmentation
from automl.data.sharpness import Sharpness, sharpened

SIZE = (64, 64)
LEVELS = np.array([40, 90, 150, 220], np.uint8)


def fields():
    """Four fields of four greys; a field's number is its label."""
    mask = np.kron(np.arange(4).reshape(2, 2), np.ones((32, 32))).astype(np.uint8)
    return np.repeat(LEVELS[mask][..., None], 3, axis=2), mask


def test_fourteen_transforms_are_taken_as_often():
    described = Augmentation("trivial", SIZE).transforms()
    assert [transform["__class_fullname__"] for transform in described] == ["OneOf"]
    inner = described[0]["transforms"]
    assert described[0]["p"] == 1.0
    assert len(inner) == 14
    assert {transform["p"] for transform in inner} == {1.0}


def test_geometry_moves_the_mask_and_tone_leaves_it():
    image, mask = fields()
    augmentation = Augmentation("trivial", SIZE)
    moved = toned = same = 0
    for seed in range(300):
        changed, labels = augmentation(image, mask, seed)
        assert set(np.unique(labels)) <= {0, 1, 2, 3}
        mask_moved = not np.array_equal(labels, mask)
        # Each label keeps one grey of its own, wherever it went, but for the pixels at borders.
        greys = [np.median(changed[labels == label]) for label in np.unique(labels)]
        spread = [
            (np.abs(changed[labels == label].astype(int) - grey) > 6).mean()
            for label, grey in zip(np.unique(labels), greys, strict=True)
        ]
        assert max(spread) < 0.25
        if mask_moved:
            moved += 1
            right = np.array_equal(greys, LEVELS[np.unique(labels)])
            assert right  # one transform alone: what moves keeps its tone
        elif np.array_equal(changed, image):
            same += 1
        else:
            toned += 1
    # 5 of 14 move; the identity and what grey pictures do not feel (colour) leave all as it is.
    assert abs(moved / 300 - 5 / 14) < 0.12
    assert toned > 60
    assert same > 20


def noise(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.5, 1.0, 1.4, 1.9])
def test_sharpness_is_pils(factor):
    image = noise()
    before = image.copy()
    expected = np.asarray(ImageEnhance.Sharpness(Image.fromarray(image)).enhance(factor))
    found = sharpened(image, factor)
    # PIL rounds what it has smoothed, and cuts what it has blended.
    assert np.abs(found.astype(int) - expected).max() <= 2
    assert np.array_equal(found, image) == (factor == 1)
    assert np.array_equal(image, before)


def test_trivial_blurs_as_often_as_it_sharpens_over_the_whole_range():
    steps = Augmentation("trivial", SIZE).transforms()[0]["transforms"]
    (described,) = [step for step in steps if step["__class_fullname__"].endswith("Sharpness")]
    assert tuple(described["factors"]) == (0.1, 1.9)
    transform = Sharpness(tuple(described["factors"]), p=described["p"])
    transform.set_random_seed(0)
    image = noise()
    rough = [roughness(transform(image=image)["image"]) for _ in range(200)]
    assert 60 < sum(value < roughness(image) for value in rough) < 140
    assert min(rough) < roughness(sharpened(image, 0.25))
    assert max(rough) > roughness(sharpened(image, 1.75))


def roughness(image):
    """The mean difference between neighbours."""
    return np.abs(np.diff(image.astype(float), axis=1)).mean()
