from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl.data.batching import BatchSettings, EpochPlan
from automl.data.dataset import open_dataset
from automl.data.stratify import stratified_order
from automl.data.subset import Subsets
from automl.data.writing import DatasetWriter

samples = st.lists(st.frozensets(st.integers(0, 5), max_size=4), min_size=1, max_size=80)


@given(samples, st.integers(0, 3))
def test_an_order_holds_every_sample_once_and_all_classes_first(classes_of, seed):
    order = stratified_order(classes_of, seed)
    assert sorted(order) == list(range(len(classes_of)))
    assert order == stratified_order(classes_of, seed)
    classes = frozenset().union(*classes_of)
    first = order[: len(classes)]
    assert frozenset().union(*(classes_of[sample] for sample in first)) == classes


@given(st.lists(st.integers(0, 4), min_size=1, max_size=120), st.integers(0, 3))
def test_every_beginning_keeps_the_share_of_each_class(labels, seed):
    order = stratified_order([frozenset({label}) for label in labels], seed)
    totals, taken = Counter(labels), Counter()
    for count, sample in enumerate(order, start=1):
        taken[labels[sample]] += 1
        for label, total in totals.items():
            # One is taken first, and each class may be one before or behind.
            assert abs(taken[label] - count * total / len(labels)) <= 2 + len(totals)


def test_a_rare_class_keeps_its_share_beside_common_ones():
    classes_of = [frozenset({0, 1} if n % 25 == 0 else {0}) for n in range(200)]
    order = stratified_order(classes_of, 0)
    for share in (0.25, 0.5, 0.75):
        count = sum(1 in classes_of[sample] for sample in order[: int(200 * share)])
        assert abs(count - 8 * share) <= 1


def test_another_seed_gives_another_order():
    classes_of = [frozenset({number % 3}) for number in range(60)]
    assert stratified_order(classes_of, 0) != stratified_order(classes_of, 1)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """40 images; the second class is in two of them, and a part of each is ignored."""
    root = tmp_path_factory.mktemp("rare")
    with DatasetWriter(root, classes=("a", "b"), size=(8, 8)) as writer:
        for name, count in (("train", 40), ("val", 2), ("test", 2)):
            for number in range(count):
                mask = np.zeros((8, 8), np.uint8)
                mask[0] = 255
                mask[3:5] = number in (7, 31)
                writer.add(name, str(number), np.zeros((8, 8, 3), np.uint8), mask)
        writer.finish("rare", ignore_index=255)
    return open_dataset(root).split("train")


def test_larger_parts_hold_the_smaller_ones(split):
    parts = [set(Subsets(split, 5).rows(n / 20, at_least=1).tolist()) for n in range(1, 21)]
    assert [len(part) for part in parts] == [2 * n for n in range(1, 21)]
    assert all(less < more for less, more in pairwise(parts))
    assert all(part & {7, 31} for part in parts)
    assert {7, 31} < parts[13]


@pytest.mark.parametrize(
    ("share", "at_least", "count"),
    [(0.01, 1, 1), (0.26, 1, 11), (0.05, 8, 8), (1.0, 1, 40), (0.5, 64, 40), (0.7, 1, 28)],
)
def test_a_part_is_rounded_up_and_no_smaller_than_asked(split, share, at_least, count):
    rows = Subsets(split, 0).rows(share, at_least=at_least)
    assert len(rows) == count
    assert rows.tolist() == sorted(set(rows.tolist()))


def test_the_seed_alone_chooses(split):
    def rows(seed):
        return Subsets(split, seed).rows(0.5, at_least=1).tolist()

    assert rows(3) == rows(3)
    assert rows(3) != rows(4)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_an_epoch_over_a_part_walks_through_it_alone_whatever_the_processes(split, world):
    rows = Subsets(split, 0).rows(0.5, at_least=8)
    settings = BatchSettings(batch_size=8, shuffle=True, world_size=world)
    plan = EpochPlan(split, settings, 3, rows)
    assert (plan.num_rows, len(plan), len(list(plan.batches()))) == (20, 2, 2)
    walked = np.concatenate([plan.rows(number) for number in range(len(plan))])
    assert len(set(walked.tolist())) == 16
    assert set(walked.tolist()) <= set(rows.tolist())
    alone = EpochPlan(split, BatchSettings(batch_size=8, shuffle=True), 3, rows)
    assert (plan.rows(1) == alone.rows(1)).all()


def test_all_rows_are_the_same_epoch_as_none_named(split):
    settings = BatchSettings(batch_size=8, shuffle=True, seed=2)
    every = EpochPlan(split, settings, 1, Subsets(split, 0).rows(1.0, at_least=8))
    plain = EpochPlan(split, settings, 1)
    assert all((every.rows(n) == plain.rows(n)).all() for n in range(len(plain)))
