"""Scores of a whole split with their bootstrap intervals over its images.

Legend: N images, B resamples, K classes, M metrics. Every score is a function of sums over images,
so that resamples are weights of images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from automl.evaluation.scoring import ImageScores
from automl.measurement.image_counts import mean_over_classes, ratio
from automl.measurement.panoptic import panoptic_quality
from automl.measurement.resampling import RESAMPLES, bootstrap_weights, percentile_interval

Floats = NDArray[np.float64]

#: Metrics that come from the confusion matrices alone.
PIXEL_METRICS = ("iou", "dice")
#: What a user may ask for by name, in the order of the table's columns.
METRICS = (*PIXEL_METRICS, "boundary_f1", "hausdorff_95", "panoptic_components")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A number with its 95 % interval; None where there is none."""

    value: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The scores of a split: by metric the mean over classes, and each class's own.

    `pixel_accuracy` has no class. `images_with` counts the images whose truth holds a class.
    """

    pixel_accuracy: Score
    means: Mapping[str, Score]
    classes: Mapping[str, tuple[Score, ...]]
    images_with: tuple[int, ...]
    num_images: int
    seed: int


def summarise(scores: ImageScores, metrics: tuple[str, ...], *, seed: int) -> Summary:
    """Score the whole split by each metric of `METRICS`; ValueError where no pixel is labelled."""
    if not scores.confusion_nkk.any():
        raise ValueError("there is nothing to score: no pixel has a label")
    weights_bn = bootstrap_weights(len(scores.names), RESAMPLES, seed)
    once_1n = np.ones((1, len(scores.names)))
    means, classes = {}, {}
    for metric in metrics:
        values_k = class_scores(scores, metric, once_1n)[0]
        resampled_bk = class_scores(scores, metric, weights_bn)
        classes[metric] = tuple(
            _score(value, drawn) for value, drawn in zip(values_k, resampled_bk.T, strict=True)
        )
        means[metric] = _score(
            mean_over_classes(values_k[None])[0], mean_over_classes(resampled_bk)
        )
    truth_nk = scores.confusion_nkk.sum(axis=2)
    return Summary(
        pixel_accuracy=_score(float(_accuracy(scores, once_1n)[0]), _accuracy(scores, weights_bn)),
        means=means,
        classes=classes,
        images_with=tuple(int(count) for count in (truth_nk > 0).sum(axis=0)),
        num_images=len(scores.names),
        seed=seed,
    )


def class_scores(scores: ImageScores, metric: str, weights_bn: Floats) -> Floats:
    """The score (B, K) of each class for each weighting of the images; NaN where there is none."""
    return _FORMULAS[metric](scores, weights_bn)


def _iou(scores: ImageScores, weights_bn: Floats) -> Floats:
    return scores.counts.iou(weights_bn)


def _dice(scores: ImageScores, weights_bn: Floats) -> Floats:
    return scores.counts.dice(weights_bn)


def _accuracy(scores: ImageScores, weights_bn: Floats) -> Floats:
    hits_n = np.trace(scores.confusion_nkk, axis1=1, axis2=2).astype(np.float64)
    total_n = scores.confusion_nkk.sum(axis=(1, 2)).astype(np.float64)
    return ratio(weights_bn @ hits_n, weights_bn @ total_n)


def _mean_of(name: str) -> Callable[[ImageScores, Floats], Floats]:
    """The mean over the images that have a value of the class."""

    def formula(scores: ImageScores, weights_bn: Floats) -> Floats:
        values_nk = scores.extras[name]
        present_nk = np.isfinite(values_nk)
        total_bk = weights_bn @ np.where(present_nk, values_nk, 0.0)
        return ratio(total_bk, weights_bn @ present_nk.astype(np.float64))

    return formula


def _panoptic(scores: ImageScores, weights_bn: Floats) -> Floats:
    return panoptic_quality(np.tensordot(weights_bn, scores.extras["panoptic_components"], axes=1))


_FORMULAS: Mapping[str, Callable[[ImageScores, Floats], Floats]] = {
    "iou": _iou,
    "dice": _dice,
    "boundary_f1": _mean_of("boundary_f1"),
    "hausdorff_95": _mean_of("hausdorff_95"),
    "panoptic_components": _panoptic,
}


def _score(value: float, resampled_b: Floats) -> Score:
    if not np.isfinite(value):
        return Score(value=None, interval=None)
    return Score(value=float(value), interval=percentile_interval(resampled_b))
