from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from automl.data.stratify import split_sizes, stratified_splits

samples = st.lists(st.frozensets(st.integers(0, 5), max_size=4), min_size=3, max_size=80)


@given(samples, st.integers(0, 3))
def test_sizes_are_exact_and_no_split_is_empty(classes_of: list[frozenset[int]], seed: int) -> None:
    chosen = stratified_splits(classes_of, seed)
    counts = Counter(chosen)
    assert (counts["train"], counts["val"], counts["test"]) == split_sizes(len(classes_of))
    assert min(counts["train"], counts["val"], counts["test"]) >= 1
    assert chosen == stratified_splits(classes_of, seed)


@given(st.integers(1, 40))
def test_a_class_of_one_image_is_in_train(count: int) -> None:
    classes_of = [frozenset({0})] * (count + 2) + [frozenset({0, 1})]
    assert stratified_splits(classes_of, 0)[-1] == "train"


def test_shares_are_70_15_15() -> None:
    assert split_sizes(100) == (70, 15, 15)
    assert split_sizes(3) == (1, 1, 1)
    assert split_sizes(2) == (2, 0, 0)


def test_rare_classes_keep_their_shares() -> None:
    rng = np.random.default_rng(0)
    probabilities = {1: 0.05, 2: 0.1, 3: 0.4}
    classes_of = [
        frozenset({0, *(label for label, p in probabilities.items() if rng.random() < p)})
        for _ in range(400)
    ]
    chosen = stratified_splits(classes_of, 0)
    for label in probabilities:
        held = Counter(
            split for split, found in zip(chosen, classes_of, strict=True) if label in found
        )
        total = sum(held.values())
        assert abs(held["train"] - 0.7 * total) <= 1.5
        assert abs(held["val"] - 0.15 * total) <= 1.5


def test_another_seed_gives_another_division() -> None:
    classes_of = [frozenset({number % 3}) for number in range(60)]
    assert stratified_splits(classes_of, 0) != stratified_splits(classes_of, 1)
