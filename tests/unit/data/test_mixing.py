"""Images mixed with each other: what each mix makes, and that nothing but the seed decides it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from automl.data.batching import BatchSettings, EpochPlan, epoch_batches
from automl.data.dataset import Dataset
from automl.data.mixing.classmix import classmix
from automl.data.mixing.copy_paste import CopyPaste, pasted_classes
from automl.data.mixing.layers import MIXES, Layer, mixed, stream_of
from automl.data.mixing.mixup import mixup, mixup_share
from automl.data.mixing.sample import Sample
from automl.data.writing import DatasetWriter

SIZE = (24, 32)
ALL = dict.fromkeys(MIXES, 1.0)


def scene(seed, labels=(0, 1, 2, 3)):
    """An image whose every pixel tells its own (seed, row, column), and blocks of labels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    image = np.stack([np.full(SIZE, seed), rows, columns], axis=2).astype(np.uint8)
    mask = np.kron(rng.choice(labels, (6, 8)), np.ones((4, 4))).astype(np.uint8)
    return Sample(image, mask)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Every third image has nothing but ground."""
    root = tmp_path_factory.mktemp("scenes")
    with DatasetWriter(root, classes=("ground", "red", "blue", "green"), size=(32, 32)) as writer:
        for part in ("train", "val", "test"):
            for number in range(11):
                rng = np.random.default_rng(number)
                image = np.full((32, 32, 3), 20 * number, np.uint8)
                mask = np.zeros((32, 32), np.uint8)
                if number % 3:
                    top, left = rng.integers(0, 22, 2)
                    mask[top : top + 8, left : left + 8] = 1 + number % 2
                    mask[0:4, 0:4] = 3 if number == 4 else 0
                    image[mask > 0] += 7
                writer.add(part, str(number), image, mask)
        writer.finish("scenes", ignore_index=None)
    return Dataset(root).split("train")


def same(one, two):
    seconds = one.second_masks_nhw, two.second_masks_nhw
    return (
        torch.equal(one.images_nhwc, two.images_nhwc)
        and torch.equal(one.masks_nhw, two.masks_nhw)
        and one.first_share == two.first_share
        and (seconds[0] is seconds[1] is None or torch.equal(*seconds))
    )


@pytest.mark.parametrize("mixes", [*({name: 0.6} for name in MIXES), ALL], ids=[*MIXES, "all"])
def test_neither_threads_nor_processes_change_a_batch(split, mixes):
    given = BatchSettings(batch_size=5, augmentation="medium", shuffle=True, seed=4, **mixes)
    whole = list(epoch_batches(split, given, 1))
    threaded = list(epoch_batches(split, replace(given, loader_workers=3), 1))
    assert all(same(*pair) for pair in zip(whole, threaded, strict=True))
    for rank in range(3):
        part = list(epoch_batches(split, replace(given, world_size=3, global_rank=rank), 1))
        for batch, mine in zip(whole, part, strict=True):
            assert torch.equal(mine.images_nhwc, batch.images_nhwc[rank::3])
            assert torch.equal(mine.masks_nhw, batch.masks_nhw[rank::3])
            assert mine.first_share == batch.first_share
            if batch.second_masks_nhw is not None:
                assert torch.equal(mine.second_masks_nhw, batch.second_masks_nhw[rank::3])


def test_streams_are_apart_and_mixes_decide_apart(split):
    assert len({stream_of(name) for name in MIXES} | {0, 1}) == len(MIXES) + 2
    plan = EpochPlan(
        split, BatchSettings(batch_size=5, shuffle=True, **dict.fromkeys(MIXES, 0.5)), 0
    )
    decided = {tuple(plan.mixes(name, number) for name in MIXES) for number in range(200)}
    assert len(decided) == 2 ** len(MIXES)


@pytest.mark.parametrize("name", MIXES)
def test_a_mix_occurs_as_often_as_asked(split, name):
    plan = EpochPlan(split, BatchSettings(batch_size=5, shuffle=True, **{name: 0.3}), 0)
    assert np.mean([plan.mixes(name, number) for number in range(600)]) == pytest.approx(
        0.3, abs=0.06
    )
    never = EpochPlan(split, BatchSettings(batch_size=5, shuffle=True), 0)
    assert not any(never.mixes(name, number) for number in range(50))


def from_partner(own, partner, mixed):
    """Where a mixed image is the partner's; everywhere it is one of the two, mask alike."""
    theirs = (mixed.image_hwc == partner.image_hwc).all(2)
    ours = (mixed.image_hwc == own.image_hwc).all(2)
    assert np.array_equal(theirs, ~ours)
    assert np.array_equal(mixed.mask_hw, np.where(theirs, partner.mask_hw, own.mask_hw))
    return theirs


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True), st.integers(0, 1000))
def test_classmix_pastes_all_of_half_of_the_partners_classes(labels, seed):
    own, partner = scene(1), scene(2, (*labels, 255))
    theirs = from_partner(own, partner, classmix(own, partner, np.random.default_rng(seed)))
    present = set(np.unique(partner.mask_hw).tolist()) - {255}
    pasted = set(np.unique(partner.mask_hw[theirs]).tolist())
    assert len(pasted) == len(present) // 2
    assert 255 not in pasted
    assert np.array_equal(theirs, np.isin(partner.mask_hw, list(pasted)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=5, unique=True), st.integers(0, 1000))
def test_copy_paste_pastes_whole_objects_within_a_quarter(labels, seed):
    own, partner = scene(1), scene(seed % 200 + 2, labels)
    paste = CopyPaste(classes=(3, 1, 2))
    theirs = from_partner(own, partner, paste(own, partner, np.random.default_rng(seed)))
    assert theirs.mean() <= 0.25
    assert set(np.unique(partner.mask_hw[theirs])) <= {1, 2, 3}
    fits = False
    for label in (3, 1, 2):
        regions, count = ndimage.label(partner.mask_hw == label, np.ones((3, 3)))
        for region in range(1, count + 1):
            inside = regions == region
            fits |= inside.mean() <= 0.25
            assert theirs[inside].all() or not theirs[inside].any()
    assert theirs.any() == fits


def test_copy_paste_takes_the_rarest_first():
    """Two objects of a fifth of the picture: only one fits, and the rare one gets the first go."""
    own, partner = scene(1, (0,)), scene(2, (0,))
    partner.mask_hw[:5] = 1
    partner.mask_hw[-5:] = 2
    taken = {}
    for classes in ((2, 1), (1, 2)):
        paste = CopyPaste(classes=classes)
        mixed = [paste(own, partner, np.random.default_rng(seed)).mask_hw for seed in range(200)]
        taken[classes] = np.mean([(mask == classes[0]).any() for mask in mixed])
    assert min(taken.values()) > 0.6


def test_the_commonest_class_is_never_pasted():
    present = np.array([[1, 0, 1, 0], [1, 1, 1, 0], [1, 0, 0, 0]], bool)
    assert pasted_classes(present) == (1, 2)
    assert pasted_classes(np.zeros((3, 0), bool)) == ()


@pytest.mark.parametrize("mix", [classmix, CopyPaste(classes=(2, 1))])
@pytest.mark.parametrize("label", [0, 255])
def test_a_partner_without_objects_gives_nothing(mix, label):
    own, partner = scene(1), scene(2, (label,))
    mixed = mix(own, partner, np.random.default_rng(0))
    assert np.array_equal(mixed.image_hwc, own.image_hwc)
    assert np.array_equal(mixed.mask_hw, own.mask_hw)


def test_arguments_stay_as_they_are():
    own, partner = scene(1), scene(2)
    before = [part.copy() for one in (own, partner) for part in (one.image_hwc, one.mask_hw)]
    rng = np.random.default_rng(0)
    for mix in (classmix, CopyPaste(classes=(2, 1)), mixup(0.3)):
        mix(own, partner, rng)
    after = [part for one in (own, partner) for part in (one.image_hwc, one.mask_hw)]
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))


def test_mixup_fades_images_and_keeps_both_masks(split):
    plan = EpochPlan(split, BatchSettings(batch_size=11, shuffle=True, mixup=1.0, seed=3), 0)
    batch, plain = (
        plan.batch(0),
        EpochPlan(split, BatchSettings(batch_size=11, shuffle=True, seed=3), 0).batch(0),
    )
    assert torch.equal(batch.masks_nhw, plain.masks_nhw)
    assert plain.second_masks_nhw is None
    share = batch.first_share
    partners = []
    for place in range(11):
        known = [
            other
            for other in range(11)
            if torch.equal(
                batch.images_nhwc[place],
                (
                    share * plain.images_nhwc[place].double()
                    + (1 - share) * plain.images_nhwc[other].double()
                )
                .round()
                .to(torch.uint8),
            )
        ]
        right = [o for o in known if torch.equal(plain.masks_nhw[o], batch.second_masks_nhw[place])]
        assert right
        partners += right[:1]
    assert len(set(partners)) > 5


def test_mixups_shares_are_those_of_its_distribution():
    """Beta(a, a) has the mean 1/2 and the variance 1 / (4 (2 a + 1))."""
    rng = np.random.default_rng(0)
    shares = [mixup_share(rng) for _ in range(4000)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(1 / (4 * 1.4), abs=0.01)


def test_bad_probabilities_are_refused():
    for name in MIXES:
        with pytest.raises(ValueError, match=f"{name} is a probability"):
            BatchSettings(batch_size=2, **{name: 1.5})


def test_each_layer_mixes_what_the_one_before_made_of_all():
    """Against a plain loop over whole batches, layer by layer."""

    def adding(own, partner, rng):
        total = own.image_hwc + 3 * partner.image_hwc + rng.integers(2, dtype=np.uint8)
        return Sample(total, own.mask_hw)

    def stream(place):
        return np.random.default_rng(place)

    loaded = []

    def sample(place):
        loaded.append(place)
        return Sample(np.full((1, 1, 3), place, np.uint8), np.zeros((1, 1), np.uint8))

    rng = np.random.default_rng(0)
    layers = [
        Layer(mix=adding, partners=rng.permutation(6), stream=stream, share=1.0) for _ in range(3)
    ]
    wanted = [sample(place) for place in range(6)]
    for one in layers:
        wanted = [
            adding(own, wanted[one.partners[place]], stream(place))
            for place, own in enumerate(wanted)
        ]
    for places in (range(6), (1, 4), (5,)):
        loaded.clear()
        found = mixed(layers, places, sample)
        assert [int(s.image_hwc[0, 0, 0]) for s in found] == [
            int(wanted[place].image_hwc[0, 0, 0]) for place in places
        ]
        assert len(set(loaded)) == len(loaded)
    assert mixed([], (2,), sample)[0].image_hwc[0, 0, 0] == 2
