from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from automl.data.augment import POLICIES, Augmentation
from automl.errors import UsageError

SIZE = (48, 64)


def picture(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four broad fields of hue-free grey; a field's number is its grey level // 64."""
    rng = np.random.default_rng(seed)
    fields = np.kron(rng.permutation(4).reshape(2, 2), np.ones((24, 32))).astype(np.uint8)
    image = np.repeat((fields * 64 + 32)[..., None], 3, axis=2)
    image.flags.writeable = False
    fields.flags.writeable = False
    return image, fields


def distance(policy: str) -> float:
    """The mean change of a noise image under a policy, over many seeds."""
    image = np.random.default_rng(0).integers(60, 200, (*SIZE, 3), dtype=np.uint8)
    image = np.asarray(image // 2 + image.mean(axis=1, keepdims=True) / 2, dtype=np.uint8)
    augmentation = Augmentation(policy, SIZE)
    mask = np.zeros(SIZE, np.uint8)
    changed = [augmentation(image, mask, seed)[0].astype(float) for seed in range(60)]
    return float(np.mean([np.abs(other - image).mean() for other in changed]))


def test_policies_grow_in_strength() -> None:
    strengths = [distance(policy) for policy in ("none", "light", "medium", "strong")]
    assert strengths[0] == 0
    assert strengths[1] > 3
    assert strengths[2] > 1.15 * strengths[1]
    assert strengths[3] > 1.15 * strengths[2]


@pytest.mark.parametrize("policy", ["none", "light", "medium", "strong"])
def test_image_and_mask_move_together(policy: str) -> None:
    """Fields keep their order of brightness under any tone curve, so grey tells the label."""
    augmentation = Augmentation(policy, SIZE)
    right = []
    for seed in range(40):
        image, mask = augmentation(*picture(seed), seed)
        assert image.shape == (*SIZE, 3)
        assert image.dtype == mask.dtype == np.uint8
        grey = image.astype(float).mean(axis=2)
        labels = [label for label in np.unique(mask) if label != 255]
        medians = np.array([np.median(grey[mask == label]) for label in labels])
        assert medians.tolist() == sorted(medians)
        guess = np.array(labels)[np.abs(grey[..., None] - medians).argmin(axis=2)]
        right.append((guess == mask)[mask != 255].mean())
    # Where the strong policy lowers contrast and adds noise, grey tells less; a mask left behind
    # is right for half of the pixels or fewer, and its medians are in disorder.
    assert min(right) > (0.6 if policy == "strong" else 0.93)
    assert np.mean(right) > 0.93


@pytest.mark.parametrize("policy", list(POLICIES))
def test_masks_hold_known_labels_only(policy: str) -> None:
    augmentation = Augmentation(policy, SIZE, ignore=255)
    image, _ = picture()
    mask = np.where(picture()[1] > 1, 200, 0).astype(np.uint8)
    found: set[int] = set()
    for seed in range(40):
        found |= set(np.unique(augmentation(image, mask, seed)[1]).tolist())
    assert found == ({0, 200, 255} if policy == "strong" else {0, 200})


@pytest.mark.parametrize("policy", list(POLICIES))
def test_the_seed_decides_everything(policy: str) -> None:
    sample = picture()
    before = [values.copy() for values in sample]
    augmentation = Augmentation(policy, SIZE)
    first = [augmentation(*sample, seed) for seed in range(20)]
    other = pickle.loads(pickle.dumps(augmentation))
    for seed in reversed(range(20)):
        again = other(*sample, seed)
        assert np.array_equal(again[0], first[seed][0])
        assert np.array_equal(again[1], first[seed][1])
    assert all(np.array_equal(*pair) for pair in zip(before, sample, strict=True))
    distinct = {image.tobytes() for image, _ in first}
    assert (len(distinct) == 1) == (policy == "none")


def test_transforms_decide_apart() -> None:
    """Flips and changes of tone occur in all four combinations."""
    image, mask = picture()
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] + 60, (*SIZE, 3))
    augmentation = Augmentation("light", SIZE)
    seen = set()
    for seed in range(80):
        changed = augmentation(np.ascontiguousarray(ramp), mask, seed)[0].astype(int)
        flipped = changed[0, 0, 0] > changed[0, -1, 0]
        span = abs(int(changed[24, 8, 0]) - int(changed[24, -8, 0]))
        level = changed[..., 0].mean()
        toned = abs(level - ramp.mean()) > 3.5 or abs(span - 48) > 7
        seen.add((bool(flipped), bool(toned)))
    assert len(seen) == 4
    assert image.flags.writeable is False


def test_threads_do_not_disturb_one_another() -> None:
    augmentation = Augmentation("strong", SIZE)
    sample = picture()
    alone = [augmentation(*sample, seed)[0].tobytes() for seed in range(40)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: augmentation(*sample, seed)[0].tobytes(), range(40)))
    assert together == alone


def test_none_gives_the_views_themselves() -> None:
    image, mask = picture()
    changed = Augmentation("none", SIZE)(image, mask, 0)
    assert changed[0] is image
    assert changed[1] is mask


def test_unknown_policy_and_wrong_size_are_told() -> None:
    with pytest.raises(UsageError, match="none, light, medium, strong, trivial, got 'wild'"):
        Augmentation("wild", SIZE)
    with pytest.raises(ValueError, match="size must be"):
        Augmentation("light", (8, 8))(*picture(), 0)
