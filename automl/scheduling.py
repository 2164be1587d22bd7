"""Which trials go on from a rung: how many, and in which order. Pure functions.

Every column of `losses` is minimised; N trials, D losses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from automl.ranking import Losses, as_points, hypervolume, pareto_front

Mask = npt.NDArray[np.bool_]

#: The reference of a rung's hypervolume, in spans of a loss beyond the worst: none for the first
#: loss, so that the worst trial of a rung never goes on for being cheap; some for the others, so
#: that the most accurate one does although it is the dearest.
_FIRST_MARGIN = 0.0
_OTHER_MARGIN = 0.1


def quota(arrived: int, eta: int) -> int:
    """How many of the trials that have arrived at a rung may go on: one in eta."""
    return arrived // eta


def planned_arrivals(num_trials: int, num_rungs: int, eta: int) -> tuple[int, ...]:
    """How many trials reach each rung, and last the full training, if all are feasible."""
    arrivals = [num_trials]
    for _ in range(num_rungs):
        arrivals.append(quota(arrivals[-1], eta))
    return tuple(arrivals)


def undominated(losses_nd: Losses) -> npt.NDArray[np.bool_]:
    """Which trials no other one dominates, (N,); equal trials do not dominate each other."""
    points_nd = as_points(losses_nd)
    if points_nd.shape[1] == 1:
        return np.asarray(points_nd[:, 0] == points_nd[:, 0].min())
    if points_nd.shape[1] == 2:
        return _undominated_in_a_plane(points_nd)
    mask_n = np.zeros(len(points_nd), dtype=bool)
    mask_n[pareto_front(points_nd)] = True
    return mask_n


def _undominated_in_a_plane(points_nd: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """In the order of the first loss, those whose second is less than all before (Kung 1975)."""
    order_n = np.lexsort((points_nd[:, 1], points_nd[:, 0]))
    ordered_nd = points_nd[order_n]
    least_n = np.minimum.accumulate(ordered_nd[:, 1])
    before_n = np.concatenate([[np.inf], least_n[:-1]])
    found_n = ordered_nd[:, 1] < before_n
    # A trial that equals the one before it is on the front where that one is.
    equal_n = np.concatenate([[False], np.all(ordered_nd[1:] == ordered_nd[:-1], axis=1)])
    first_n = np.maximum.accumulate(np.where(equal_n, 0, np.arange(len(ordered_nd))))
    mask_n = np.empty(len(points_nd), dtype=bool)
    mask_n[order_n] = found_n[first_n]
    return mask_n


def next_to_promote(
    losses_nd: Losses, waiting: Sequence[bool] | Mask, promoted: Sequence[bool] | Mask
) -> int:
    """The index of the waiting trial of a rung that goes on next; ValueError without one.

    Among the waiting trials that no other waiting one dominates, it is the one that adds most to
    the hypervolume of the promoted ones (Source: Guerreiro et al. 2016, greedy subset selection),
    ties by the losses in turn, then by index. The losses are scaled to what all trials span.
    """
    points_nd = as_points(losses_nd)
    waiting_n, promoted_n = np.asarray(waiting, dtype=bool), np.asarray(promoted, dtype=bool)
    if not waiting_n.any():
        raise ValueError("no trial of the rung waits")
    scaled_nd = _scaled(points_nd)
    candidates_w = np.flatnonzero(waiting_n)
    candidates_w = candidates_w[undominated(scaled_nd[candidates_w])]
    gains_w = _gains(scaled_nd[promoted_n], scaled_nd[candidates_w])
    best = min(
        range(len(candidates_w)),
        key=lambda i: (-round(gains_w[i], 12), *scaled_nd[candidates_w[i]].tolist()),
    )
    return int(candidates_w[best])


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
    """The same for two losses: what lies between each point and the staircase of the chosen.

    Along the first loss, the staircase is as low as the best second loss of all chosen up to there.
    """
    front_cd = chosen_cd[undominated(chosen_cd)] if len(chosen_cd) else chosen_cd.reshape(0, 2)
    front_cd = np.unique(front_cd, axis=0)
    starts_s = np.concatenate([[-np.inf], front_cd[:, 0]])
    ends_s = np.concatenate([front_cd[:, 0], [reference_d[0]]])
    heights_s = np.concatenate([[reference_d[1]], front_cd[:, 1]])
    ends_s = np.minimum(ends_s, reference_d[0])
    heights_s = np.minimum(heights_s, reference_d[1])
    widths_ws = ends_s - np.maximum(starts_s, waiting_wd[:, :1])
    drops_ws = heights_s - waiting_wd[:, 1:]
    gains_ws = np.maximum(widths_ws, 0.0) * np.maximum(drops_ws, 0.0)
    gains: list[float] = gains_ws.sum(axis=1).tolist()
    return gains
