"""Images with rare classes drawn more often than others, in an epoch of the same length."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from automl.data.dataset import ArrowSplit
from automl.data.effective import effective_number

Rows = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]

#: What a share may be off by, as a sum of many weights.
_ROUNDING = 1e-6


def image_weights(split: ArrowSplit, rows: Rows, policy: str) -> Weights:
    """How often each of these rows is to be drawn beside the others, (P,).

    `none`: all alike. `effective`: as the rarest class in an image asks for, which is one over the
    effective number of those of `rows` that the class occurs in; an image without labels as if its
    class were in all of them. Raises ValueError for another policy.
    """
    if policy not in OVERSAMPLING:
        raise ValueError(f"oversample must be one of {', '.join(OVERSAMPLING)}, got {policy!r}")
    return OVERSAMPLING[policy](split, rows)


def drawn_rows(rows: Rows, weights: Weights, rng: np.random.Generator) -> Rows:
    """As many rows as given, each drawn about `len(rows) * weight / sum(weights)` times, shuffled.

    A row comes as often as that number rounded down or up, and on average exactly so: evenly spaced
    points over the sum of the weights (systematic sampling) leave out fewer rows than independent
    draws. Source: Madow and Madow 1944, "On the theory of systematic sampling".
    """
    order = rng.permutation(len(rows))
    ends = np.cumsum(weights[order])
    points = (rng.random() + np.arange(len(rows))) * (ends[-1] / len(rows))
    chosen = np.searchsorted(ends, points, side="right").clip(max=len(rows) - 1)
    return rng.permutation(rows[order[chosen]])


def wrongly_drawn(drawn: Rows, rows: Rows, weights: Weights) -> int:
    """How many of `rows`, which ascend, `drawn` holds more or less often than `drawn_rows` would.

    Where all weigh alike each must come once, where they differ as often as its share, rounded.
    """
    shares = len(rows) * weights / weights.sum()
    counts = np.bincount(np.searchsorted(rows, drawn), minlength=len(rows))
    right = (counts >= np.floor(shares - _ROUNDING)) & (counts <= np.ceil(shares + _ROUNDING))
    return len(rows) - int(right.sum())


def repeats_before(rows: Rows) -> Rows:
    """For each place of `rows` how often its row has come before."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    repeats = np.empty_like(rows)
    repeats[order] = np.arange(len(rows)) - np.searchsorted(ordered, ordered)
    return repeats


def _alike(_split: ArrowSplit, rows: Rows) -> Weights:
    return np.ones(len(rows))


def _by_rarest_class(split: ArrowSplit, rows: Rows) -> Weights:
    present_pk = split.classes_present[rows]
    in_all = float(len(rows))
    images_k = np.where(present_pk, present_pk.sum(0), in_all)
    return 1 / effective_number(images_k.min(1, initial=in_all))


#: By their names in an experiment.
OVERSAMPLING: Mapping[str, Callable[[ArrowSplit, Rows], Weights]] = MappingProxyType(
    {"none": _alike, "effective": _by_rarest_class}
)
