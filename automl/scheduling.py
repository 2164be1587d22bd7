"""Which trials go on: rungs of epochs, and the order of the trials at one. Pure functions.

Every column of `losses` is minimised; N trials, D losses.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from automl.ranking import Losses, as_points, hypervolume

#: The reference of a rung's hypervolume, in spans of a loss beyond the worst: none for the first
#: loss, so that the worst trial of a rung never goes on for being cheap; some for the others, so
#: that the most accurate one does although it is the dearest.
_FIRST_MARGIN = 0.0
_OTHER_MARGIN = 0.1


def rung_epochs(min_epochs: int, max_epochs: int, eta: int) -> tuple[int, ...]:
    """The epochs after which trials are compared: min_epochs * eta^k below max_epochs.

    Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2.
    """
    if min_epochs < 1 or eta < 2:
        raise ValueError(f"min_epochs >= 1 and eta >= 2 must hold, got {min_epochs} and {eta}")
    rungs = []
    epochs = min_epochs
    while epochs < max_epochs:
        rungs.append(epochs)
        epochs *= eta
    return tuple(rungs)


def quota(arrived: int, eta: int) -> int:
    """How many of the trials that have arrived at a rung may go on: one in eta."""
    return arrived // eta


def planned_arrivals(num_trials: int, num_rungs: int, eta: int) -> tuple[int, ...]:
    """How many trials reach each rung, and last the full training, if all are feasible."""
    arrivals = [num_trials]
    for _ in range(num_rungs):
        arrivals.append(quota(arrivals[-1], eta))
    return tuple(arrivals)


def front_numbers(losses_nd: Losses) -> npt.NDArray[np.int64]:
    """The front of each trial, (N,): 0 for the undominated, 1 once those are gone, and so on.

    Source: Deb et al. 2002, NSGA-II, section III-A; one sweep where there are two losses at most
    (Jensen 2003).
    """
    points_nd = as_points(losses_nd)
    if points_nd.shape[1] <= 2:
        return _front_numbers_by_sweep(points_nd)
    no_worse_nn = np.all(points_nd[:, None] <= points_nd[None], axis=2)
    better_nn = np.any(points_nd[:, None] < points_nd[None], axis=2)
    dominates_nn = no_worse_nn & better_nn
    fronts_n = np.full(len(points_nd), -1, dtype=np.int64)
    front = 0
    while (left_n := fronts_n < 0).any():
        dominated_n = dominates_nn[left_n].any(axis=0)
        fronts_n[left_n & ~dominated_n] = front
        front += 1
    return fronts_n


def _front_numbers_by_sweep(points_nd: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """By the first loss, then the second: a point joins the first front whose last it escapes."""
    fronts_n = np.zeros(len(points_nd), dtype=np.int64)
    if points_nd.shape[1] == 0:
        return fronts_n
    first_n, last_n = points_nd[:, 0], points_nd[:, -1]
    # The least second loss of each front, which grows from front to front.
    least: list[float] = []
    before: tuple[float, float] | None = None
    front = 0
    for index in np.lexsort((last_n, first_n)).tolist():
        point = (float(first_n[index]), float(last_n[index]))
        if point != before:
            front = bisect_right(least, point[1])
            least[front : front + 1] = [point[1]]
            before = point
        fronts_n[index] = front
    return fronts_n


def next_to_promote(losses_nd: Losses, promoted: Sequence[bool]) -> int:
    """The index of the best trial of a rung that was not promoted yet; ValueError without one.

    It is of the first front with such a trial, there the one that adds most to the hypervolume of
    the front's promoted trials (Source: Guerreiro et al. 2016, greedy subset selection), ties by
    the losses in turn, then by index. The losses are scaled to what all the trials span.
    """
    points_nd = as_points(losses_nd)
    promoted_n = np.asarray(promoted, dtype=bool)
    if promoted_n.all():
        raise ValueError("every trial of the rung was promoted already")
    fronts_n = front_numbers(points_nd)
    in_front_n = fronts_n == fronts_n[~promoted_n].min()
    scaled_nd = _scaled(points_nd)
    waiting = np.flatnonzero(in_front_n & ~promoted_n).tolist()
    gains = _gains(scaled_nd[in_front_n & promoted_n], scaled_nd[waiting])
    best = min(
        range(len(waiting)),
        key=lambda i: (-round(gains[i], 12), *scaled_nd[waiting[i]].tolist(), waiting[i]),
    )
    return int(waiting[best])


def _scaled(points_nd: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Each loss from 0 (the best of all) to 1 (the worst); 0 where all are equal."""
    best_d = points_nd.min(axis=0)
    span_d = points_nd.max(axis=0) - best_d
    return np.asarray((points_nd - best_d) / np.where(span_d > 0, span_d, 1.0))


def _gains(chosen_cd: npt.NDArray[np.float64], waiting_wd: npt.NDArray[np.float64]) -> list[float]:
    """What each waiting trial of a front adds to the hypervolume of the chosen ones."""
    num_losses = waiting_wd.shape[1]
    reference_d = np.full(num_losses, 1.0 + _OTHER_MARGIN)
    reference_d[0] = 1.0 + _FIRST_MARGIN
    if num_losses == 2:
        return _gains_in_a_plane(chosen_cd, waiting_wd, reference_d)
    base = hypervolume(chosen_cd, reference_d.tolist())
    return [
        hypervolume(np.vstack([chosen_cd, point_d]), reference_d.tolist()) - base
        for point_d in waiting_wd
    ]


def _gains_in_a_plane(
    chosen_cd: npt.NDArray[np.float64],
    waiting_wd: npt.NDArray[np.float64],
    reference_d: npt.NDArray[np.float64],
) -> list[float]:
    """The same for two losses: the rectangle between a point's neighbours on the front."""
    sorted_cd = chosen_cd[np.argsort(chosen_cd[:, 0], kind="stable")]
    firsts_c = np.append(sorted_cd[:, 0], reference_d[0])
    seconds_c = np.insert(sorted_cd[:, 1], 0, reference_d[1])
    places_w = np.searchsorted(sorted_cd[:, 0], waiting_wd[:, 0])
    widths_w = firsts_c[places_w] - waiting_wd[:, 0]
    heights_w = seconds_c[places_w] - waiting_wd[:, 1]
    gains: list[float] = (np.maximum(widths_w, 0.0) * np.maximum(heights_w, 0.0)).tolist()
    return gains
