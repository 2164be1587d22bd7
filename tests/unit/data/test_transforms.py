"""Declared transforms as they are built."""

import pickle
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.data.augment import Augmentation, policy_transforms
from automl.data.transforms import BUILDERS
from automl.space.policies.policy import Policy, Step
from automl.space.policies.transforms import TRANSFORMS

SIZE = (48, 64)
GEOMETRY = ("affine", "resized_crop", "perspective", "elastic", "grid_distortion")
FLIPS = ("horizontal_flip", "vertical_flip")


def step(kind, magnitude=1.0, p=1.0):
    return Step(
        kind=kind, p=p, settings=tuple(TRANSFORMS[kind].values({"magnitude": magnitude}).items())
    )


def policy(*steps):
    return Policy(name="mine", steps=steps)


def smooth(seed=0):
    """A smooth picture in colours, so that small moves change little."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    waves = [
        np.sin(rows * rng.uniform(0.05, 0.2) + columns * rng.uniform(0.05, 0.2) + phase)
        for phase in rng.uniform(0, 6, 3)
    ]
    return (128 + 70 * np.stack(waves, axis=2)).astype(np.uint8)


def change(kind, magnitude):
    image, mask = smooth(), np.zeros(SIZE, np.uint8)
    augmentation = Augmentation(policy(step(kind, magnitude)), SIZE)
    return float(
        np.mean([np.abs(augmentation(image, mask, s)[0].astype(int) - image) for s in range(24)])
    )


def test_every_declared_kind_is_built():
    assert list(BUILDERS) == list(TRANSFORMS)


@pytest.mark.parametrize("kind", [name for name in TRANSFORMS if TRANSFORMS[name].settings])
def test_magnitude_scales_the_effect_and_0_is_none(kind):
    assert change(kind, 0.0) == 0
    low, high = change(kind, 0.25), change(kind, 1.0)
    assert 0 < low < high
    built = [policy_transforms(policy(step(kind, m)), SIZE) for m in (0.25, 0.5, 0.75)]
    assert all(one != other for one, other in combinations(built, 2))


@settings(max_examples=60, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(list(TRANSFORMS)), min_size=1, max_size=4, unique=True),
    magnitude=st.floats(0, 1),
    labels=st.lists(st.integers(0, 254), min_size=1, max_size=4, unique=True),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_label_is_invented(kinds, magnitude, labels, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    mask = rng.choice(np.array(labels, np.uint8), SIZE)
    augmentation = Augmentation(policy(*(step(kind, magnitude) for kind in kinds)), SIZE)
    _, changed = augmentation(image, mask, seed)
    allowed = {*labels, 255} if "coarse_dropout" in kinds else {*labels}
    assert set(np.unique(changed).tolist()) <= allowed


@pytest.mark.parametrize("kind", [*GEOMETRY, *FLIPS])
def test_the_mask_moves_with_the_image(kind):
    """Grey tells the label: geometry alone, so only pixels at borders may disagree."""
    fields = np.kron(np.arange(12).reshape(3, 4), np.ones((16, 16))).astype(np.uint8)
    image = np.repeat(fields[..., None] * 20, 3, axis=2)
    augmentation = Augmentation(policy(step(kind, 0.7)), SIZE)
    moved, right = [], []
    for seed in range(20):
        changed, mask = augmentation(image, fields, seed)
        right.append((np.rint(changed[..., 0] / 20) == mask).mean())
        moved.append((mask != fields).mean())
    assert np.mean(moved) > 0.02
    assert min(right) > 0.8


@pytest.mark.parametrize(
    "kind", [k for k in TRANSFORMS if k not in (*GEOMETRY, *FLIPS, "coarse_dropout")]
)
def test_colours_leave_the_mask_alone(kind):
    mask = np.random.default_rng(1).integers(0, 5, SIZE, dtype=np.uint8)
    augmentation = Augmentation(policy(step(kind)), SIZE)
    different = []
    for seed in range(5):
        changed, same = augmentation(smooth(seed), mask, seed)
        assert np.array_equal(same, mask)
        different.append(not np.array_equal(changed, smooth(seed)))
    assert sum(different) >= 3  # a blur of a pixel or less may do nothing


def test_holes_are_ignored_pixels():
    mask = np.full(SIZE, 3, np.uint8)
    changed, holed = Augmentation(policy(step("coarse_dropout")), SIZE)(smooth(), mask, 0)
    assert set(np.unique(holed)) == {3, 255}
    assert (changed[holed == 255] == 127).all()
    assert np.array_equal(changed[holed == 3], smooth()[holed == 3])


def test_the_order_is_that_of_the_declaration_and_the_seed_decides():
    steps = step("gaussian_noise"), step("affine"), step("clahe", p=0.5)
    mask = np.zeros(SIZE, np.uint8)
    forth, back = Augmentation(policy(*steps), SIZE), Augmentation(policy(*steps[::-1]), SIZE)
    names = [transform["__class_fullname__"] for transform in forth.transforms()]
    assert names == ["GaussNoise", "Affine", "CLAHE"]
    again = pickle.loads(pickle.dumps(forth))
    for seed in range(5):
        assert np.array_equal(forth(smooth(), mask, seed)[0], again(smooth(), mask, seed)[0])
    assert any(
        not np.array_equal(forth(smooth(), mask, s)[0], back(smooth(), mask, s)[0])
        for s in range(5)
    )


def test_an_elastic_shift_is_as_large_as_it_says():
    """Images of their own coordinates tell where each pixel came from."""
    size, bend = (128, 128), 0.02
    rows, columns = np.mgrid[0:128, 0:128]
    image = np.stack([rows, columns, rows], axis=2).astype(np.uint8)
    one = Step(kind="elastic", p=1.0, settings=(("bend", bend),))
    augmentation = Augmentation(policy(one), size)
    shifts = []
    for seed in range(10):
        changed, _ = augmentation(image, np.zeros(size, np.uint8), seed)
        middle = slice(32, 96), slice(32, 96)
        shifts.append((changed.astype(float) - image)[middle][..., :2])
    assert np.sqrt(np.mean(np.square(shifts))) == pytest.approx(bend * 128, rel=0.2)


def test_steps_refuse_what_does_not_exist():
    with pytest.raises(ValueError, match="kind must be one of"):
        Step(kind="wild", p=0.5)
    with pytest.raises(ValueError, match="settings of elastic must be"):
        Step(kind="elastic", p=0.5)
