"""Samples split, or put in an order, so that every class keeps its share.

Source of the split: Sechidis, Tsoumakas, Vlahavas 2011, "On the Stratification of Multi-Label
Data", algorithm 1 (iterative stratification): the rarest class is dealt out first, each of its
samples to the split that still wants most of that class. Unlike there, the sizes of the splits are
exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from automl.records import SPLITS, Split

#: Share of val and of test; train takes the rest (70 %).
HELD_OUT_SHARE = 0.15


def split_sizes(count: int) -> tuple[int, int, int]:
    """Samples of train, val and test among `count`; at least one each from three on."""
    held_out = min(max(1, round(count * HELD_OUT_SHARE)), count // 3)
    return count - 2 * held_out, held_out, held_out


def stratified_splits(classes_of: Sequence[frozenset[int]], seed: int) -> list[Split]:
    """The split of each sample, given the classes that occur in it."""
    parts = stratified_parts(classes_of, split_sizes(len(classes_of)), seed)
    return [SPLITS[part] for part in parts]


def stratified_folds(classes_of: Sequence[frozenset[int]], folds: int, seed: int) -> list[int]:
    """The fold of each sample, from 0; the sizes of folds differ by one at most."""
    count = len(classes_of)
    if not 2 <= folds <= count:
        raise ValueError(f"folds must be 2 to the {count} samples, got {folds}")
    sizes = [count // folds + (fold < count % folds) for fold in range(folds)]
    return stratified_parts(classes_of, sizes, seed)


def stratified_parts(
    classes_of: Sequence[frozenset[int]], part_sizes: Sequence[int], seed: int
) -> list[int]:
    """The part of each sample, from 0; the sizes add up to the number of samples."""
    count = len(classes_of)
    sizes = np.array(part_sizes)
    room = sizes.copy()
    remaining = [int(sample) for sample in np.random.default_rng(seed).permutation(count)]
    every = sorted(frozenset[int]().union(*classes_of))
    held = {label: sum(label in found for found in classes_of) for label in every}
    wanted = {label: sizes * held[label] / count for label in every}
    chosen = [0] * count
    while remaining:
        group = _rarest_group(remaining, classes_of)
        label = group[1]
        for sample in group[0]:
            wish = room.astype(float) if label is None else wanted[label]
            index = max(
                (index for index in range(len(sizes)) if room[index] > 0),
                key=lambda index: (wish[index], room[index], -index),
            )
            room[index] -= 1
            for found in classes_of[sample]:
                wanted[found][index] -= 1
            chosen[sample] = index
        taken = set(group[0])
        remaining = [sample for sample in remaining if sample not in taken]
    return chosen


def stratified_order(classes_of: Sequence[frozenset[int]], seed: int) -> list[int]:
    """All samples in an order in which classes keep their shares, however many of them are taken.

    The first samples, at most one for each class, hold all classes between them. Each other sample
    counts for the rarest of its classes, and those of a class are spread evenly over the order.
    """
    shuffled = [int(sample) for sample in np.random.default_rng(seed).permutation(len(classes_of))]
    held = _images_with(classes_of)
    first: list[int] = []
    for label in sorted(held, key=lambda label: (held[label], label)):
        if not any(label in classes_of[sample] for sample in first):
            first.append(next(sample for sample in shuffled if label in classes_of[sample]))
    groups: dict[int | None, list[int]] = {}
    for sample in shuffled:
        if sample not in first:
            own = min(classes_of[sample], key=lambda label: (held[label], label), default=None)
            groups.setdefault(own, []).append(sample)
    places = [
        ((place + 0.5) / len(group), len(group), sample)
        for group in groups.values()
        for place, sample in enumerate(group)
    ]
    return first + [sample for *_, sample in sorted(places)]


def _images_with(classes_of: Iterable[frozenset[int]]) -> dict[int, int]:
    """How many of the samples each class occurs in."""
    counts: dict[int, int] = {}
    for found in classes_of:
        for label in found:
            counts[label] = counts.get(label, 0) + 1
    return counts


def _rarest_group(
    remaining: Sequence[int], classes_of: Sequence[frozenset[int]]
) -> tuple[list[int], int | None]:
    """The remaining samples of the class that is rarest among them; all, where none has any."""
    counts = _images_with(classes_of[sample] for sample in remaining)
    if not counts:
        return list(remaining), None
    rarest = min(counts, key=lambda label: (counts[label], label))
    return [sample for sample in remaining if rarest in classes_of[sample]], rarest
