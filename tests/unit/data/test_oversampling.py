"""Images with rare classes come more often: how often, and the same whoever walks the epoch."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from automl.data.batching import BatchSettings, EpochPlan, epoch_batches
from automl.data.dataset import ArrowSplit
from automl.data.effective import effective_number
from automl.data.oversampling import drawn_rows, image_weights, repeats_before, wrongly_drawn
from automl.data.writing import DatasetWriter

SIZE = (32, 32)
COUNT = 40
RARE = range(0, COUNT, 10)
IGNORED = 7


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> ArrowSplit:
    """Sample n is grey level 5 n; one in ten has a rare class, and one no label at all."""
    root = tmp_path_factory.mktemp("rare")
    with DatasetWriter(root, classes=("ground", "rare"), size=SIZE) as writer:
        for name in ("train", "val", "test"):
            for number in range(COUNT):
                mask = np.full(SIZE, 255 if number == IGNORED else 0, np.uint8)
                mask[: 4 if number in RARE else 0] = 1
                writer.add(name, str(number), np.full((*SIZE, 3), 5 * number, np.uint8), mask)
        writer.finish("rare", ignore_index=255)
    return ArrowSplit(root / "train.arrow", SIZE)


def settings(**changes) -> BatchSettings:
    given = {"batch_size": 8, "shuffle": True, "seed": 3, "oversample": "effective"}
    return BatchSettings(**{**given, **changes})


def test_presence_is_that_of_the_masks(split: ArrowSplit) -> None:
    expected = [[n != IGNORED, n in RARE] for n in range(COUNT)]
    assert split.classes_present.tolist() == expected


def test_effective_number_is_the_geometric_sum() -> None:
    counts = np.array([1.0, 7.0, 500.0])
    expected = [sum(0.999**i for i in range(int(n))) for n in counts]
    assert effective_number(counts).tolist() == pytest.approx(expected)


def test_an_image_weighs_as_its_rarest_class_asks_for(split: ArrowSplit) -> None:
    weights = image_weights(split, np.arange(COUNT), "effective")
    of_rare, of_ground, of_none = (1 - 0.999**n for n in (len(RARE), COUNT - 1, COUNT))
    assert weights[10] / weights[1] == pytest.approx(of_ground / of_rare)
    assert weights[10] / weights[IGNORED] == pytest.approx(of_none / of_rare)
    assert set(image_weights(split, np.arange(COUNT), "none")) == {1.0}


def test_weights_are_those_within_the_rows_that_are_given(split: ArrowSplit) -> None:
    weights = image_weights(split, np.array([0, 1, 2]), "effective")
    assert weights[0] / weights[1] == pytest.approx((1 - 0.999**3) / (1 - 0.999))


@given(
    weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=60),
    seed=st.integers(0, 2**31),
)
def test_each_row_is_drawn_as_often_as_its_weight_says_but_for_rounding(weights, seed) -> None:
    rows = np.arange(len(weights)) + 100
    array = np.array(weights)
    drawn = drawn_rows(rows, array, np.random.default_rng(seed))
    counts = Counter(drawn.tolist())
    assert len(drawn) == len(rows)
    for row, expected in zip(rows, len(rows) * array / array.sum(), strict=True):
        assert np.floor(expected - 1e-6) <= counts[int(row)] <= np.ceil(expected + 1e-6)


def test_an_order_that_is_not_as_asked_for_is_found_out(split: ArrowSplit) -> None:
    rows = np.arange(COUNT)
    honest = EpochPlan(split, settings(), 0).epoch_rows
    plain = EpochPlan(split, settings(oversample="none"), 0).epoch_rows
    weights = image_weights(split, rows, "effective")
    assert wrongly_drawn(honest, rows, weights) == 0
    assert wrongly_drawn(plain, rows, weights) == len(RARE)
    assert wrongly_drawn(plain, rows, np.ones(COUNT)) == 0
    assert wrongly_drawn(honest, rows, np.ones(COUNT)) > 0
    some = np.array([0, 3, 10, 20, 31])
    drawn = EpochPlan(split, settings(), 0, some).epoch_rows
    assert wrongly_drawn(drawn, some, image_weights(split, some, "effective")) == 0


def test_draws_are_right_on_average() -> None:
    rows, weights = np.arange(5), np.array([0.3, 1.0, 0.2, 2.5, 1.0])
    rng = np.random.default_rng(0)
    counts = sum(np.bincount(drawn_rows(rows, weights, rng), minlength=5) for _ in range(4000))
    assert (counts / 4000).tolist() == pytest.approx(weights.tolist(), abs=0.04)


@given(st.lists(st.integers(0, 5), max_size=30))
def test_repeats_are_counted_in_order(rows) -> None:
    expected = [rows[:place].count(row) for place, row in enumerate(rows)]
    assert repeats_before(np.array(rows, dtype=np.int64)).tolist() == expected


def test_rare_images_come_more_often_in_an_epoch_of_the_same_length(split: ArrowSplit) -> None:
    rows = EpochPlan(split, settings(), 0).epoch_rows
    assert len(rows) == COUNT
    assert np.isin(rows, list(RARE)).sum() > 4 * len(RARE)


def test_order_depends_on_seed_and_epoch_alone(split: ArrowSplit) -> None:
    rows = EpochPlan(split, settings(), 0).epoch_rows.tolist()
    assert EpochPlan(split, settings(), 0).epoch_rows.tolist() == rows
    assert EpochPlan(split, settings(seed=4), 0).epoch_rows.tolist() != rows
    assert EpochPlan(split, settings(), 1).epoch_rows.tolist() != rows


def test_without_oversampling_an_epoch_is_a_permutation(split: ArrowSplit) -> None:
    rows = EpochPlan(split, settings(oversample="none"), 0).epoch_rows
    assert sorted(rows.tolist()) == list(range(COUNT))


def test_neither_processes_nor_threads_change_what_is_drawn(split: ArrowSplit) -> None:
    """With augmentation and CutMix, the images of two processes are those of one, interleaved."""
    changes = {"augmentation": "medium", "cutmix": 0.5}
    alone = list(epoch_batches(split, settings(**changes), 0))
    threaded = list(epoch_batches(split, settings(**changes, loader_workers=3), 0))
    parts = [
        list(epoch_batches(split, settings(**changes, world_size=2, global_rank=rank), 0))
        for rank in range(2)
    ]
    for whole, same, *halves in zip(alone, threaded, *parts, strict=True):
        assert torch.equal(whole.images_nhwc, same.images_nhwc)
        places = list(chain.from_iterable(zip(*[half.images_nhwc for half in halves], strict=True)))
        assert torch.equal(whole.images_nhwc, torch.stack(places))


def test_an_image_that_comes_again_is_augmented_anew(split: ArrowSplit) -> None:
    plan = EpochPlan(split, settings(augmentation="strong"), 0)
    again = [place for place, row in enumerate(plan.epoch_rows) if row == RARE[1]]
    images = [plan.batch(place // 8).images_nhwc[place % 8].numpy().tobytes() for place in again]
    assert len(set(images)) == len(images) > 2


def test_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="oversample must be one of none, effective, got 'rare'"):
        settings(oversample="rare")
