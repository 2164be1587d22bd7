"""Which trials go on: rungs of epochs, and their order under several losses. Pure functions.

Every column of `losses` is minimised; N trials, D losses.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from automl.ranking import Losses, as_points


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


def front_numbers(losses_nd: Losses) -> npt.NDArray[np.int64]:
    """The front of each trial, (N,): 0 for the undominated, 1 once those are gone, and so on.

    Source: Deb et al. 2002, NSGA-II, section III-A.
    """
    points_nd = as_points(losses_nd)
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


def crowding_distances(losses_nd: Losses) -> npt.NDArray[np.float64]:
    """How far apart each trial's neighbours are, (N,); infinite for the extremes of a loss.

    Source: Deb et al. 2002, NSGA-II, section III-B. A loss that is equal everywhere adds nothing.
    """
    points_nd = as_points(losses_nd)
    distances_n = np.zeros(len(points_nd))
    for loss_n in points_nd.T:
        order_n = np.argsort(loss_n, kind="stable")
        ordered_n = loss_n[order_n]
        span = ordered_n[-1] - ordered_n[0]
        if span <= 0:
            continue
        distances_n[order_n[[0, -1]]] = np.inf
        distances_n[order_n[1:-1]] += (ordered_n[2:] - ordered_n[:-2]) / span
    return distances_n


def order(losses_nd: Losses) -> list[int]:
    """Trials, best first: by front, then the least crowded in it, then by index."""
    points_nd = as_points(losses_nd)
    fronts_n = front_numbers(points_nd)
    crowding_n = np.zeros(len(points_nd))
    for front in np.unique(fronts_n):
        members_n = fronts_n == front
        crowding_n[members_n] = crowding_distances(points_nd[members_n])
    return sorted(
        range(len(points_nd)), key=lambda index: (fronts_n[index], -crowding_n[index], index)
    )


def keeps(losses_of_rung: Losses, mine: int, eta: int) -> bool:
    """Whether the trial at index `mine` goes on, given all that have reached its rung so far.

    Asynchronous successive halving under several losses: the best ceil(N / eta) go on, so that
    the first to arrive always does and nobody waits.
    """
    position = order(losses_of_rung).index(mine)
    return position < math.ceil(len(losses_of_rung) / eta)
