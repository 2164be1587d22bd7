"""Pareto fronts and choices on them. Every column of `losses` is minimised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

#: Rows are points, columns are losses; a two-dimensional array will do as well.
Losses = Sequence[Sequence[float]] | npt.NDArray[np.float64]


def pareto_front(losses: Losses) -> list[int]:
    """Indices of the points that no other point dominates, in ascending order.

    Equal points do not dominate each other: the front has all of them. ValueError on a NaN.
    """
    points_nd = as_points(losses)
    return [
        index
        for index, point_d in enumerate(points_nd)
        if not np.any(np.all(points_nd <= point_d, axis=1) & np.any(points_nd < point_d, axis=1))
    ]


def hypervolume(losses: Losses, reference: Sequence[float]) -> float:
    """The volume that the points dominate, up to `reference`; exact, in any dimension.

    Points that are not better than the reference everywhere add nothing. Source: Zitzler and
    Thiele 1998; computed in slices along the last loss (While et al. 2006, HSO), a sweep in 2-D.
    """
    reference_d = np.asarray(reference, dtype=np.float64)
    points_nd = as_points(losses)
    if points_nd.size == 0:
        return 0.0
    if points_nd.shape[1] != len(reference_d):
        raise ValueError(f"the reference must have {points_nd.shape[1]} losses, got {reference}")
    inside_nd = points_nd[np.all(points_nd < reference_d, axis=1)]
    return _volume(inside_nd, reference_d)


def _volume(points_nd: npt.NDArray[np.float64], reference_d: npt.NDArray[np.float64]) -> float:
    if len(points_nd) == 0:
        return 0.0
    if len(reference_d) == 1:
        return float(reference_d[0] - points_nd[:, 0].min())
    ordered_nd = points_nd[np.argsort(points_nd[:, -1], kind="stable")]
    depths_n = np.diff(np.append(ordered_nd[:, -1], reference_d[-1]))
    if len(reference_d) == 2:
        widths_n = reference_d[0] - np.minimum.accumulate(ordered_nd[:, 0])
        return float(np.sum(widths_n * depths_n))
    return sum(
        float(depth) * _volume(ordered_nd[: count + 1, :-1], reference_d[:-1])
        for count, depth in enumerate(depths_n)
        if depth > 0
    )


def knee(losses: Losses) -> int:
    """The index of the point of the front that bulges most: a sound compromise.

    Losses are scaled so that the front spans 0 to 1 in each; the knee is the front's point
    farthest below the plane through the extremes, sum of losses = 1 (Das 1999). ValueError
    without any point.
    """
    points_nd = as_points(losses)
    if len(points_nd) == 0:
        raise ValueError("a knee needs at least one point, got none")
    front = pareto_front(points_nd)
    front_nd = points_nd[front]
    span_d = np.ptp(front_nd, axis=0)
    scaled_nd = (front_nd - front_nd.min(axis=0)) / np.where(span_d > 0, span_d, 1.0)
    return front[int(np.argmin(scaled_nd.sum(axis=1)))]


def choose_best(accuracies: Sequence[float], latencies: Sequence[float], share: float) -> int:
    """The index of the fastest model with at least `share` of the highest accuracy.

    Ties go to the more accurate one, then to the first. ValueError without any model.
    """
    if not accuracies:
        raise ValueError("a choice needs at least one model, got none")
    enough = share * max(accuracies)
    models = [
        (latency, -accuracy, index)
        for index, (accuracy, latency) in enumerate(zip(accuracies, latencies, strict=True))
        if accuracy >= enough
    ]
    return min(models)[2]


def as_points(losses: Losses) -> npt.NDArray[np.float64]:
    """Losses as an (N, D) array, (0, 0) where there are none; ValueError on a NaN."""
    points_nd = np.asarray(losses, dtype=np.float64)
    if points_nd.size == 0:
        return np.zeros((len(points_nd), 0))
    if points_nd.ndim != 2:
        raise ValueError(f"losses must be N rows of D numbers, got shape {points_nd.shape}")
    if np.isnan(points_nd).any():
        raise ValueError(f"losses must not be NaN, got {points_nd.tolist()}")
    return points_nd
