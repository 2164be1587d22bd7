"""Two bundles on the same pictures: by how much they differ, and whether that may be chance.

The test relabels: under the hypothesis that both are alike, which of the two made the mask of an
image is a coin's toss. Scores are of the whole split each time. Source: Noreen 1989,
"Computer-Intensive Methods for Testing Hypotheses", chapter 2 (approximate randomization).

Legend: N images, B resamples, K classes, S scores: one a class, and their mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from automl.bundle.inference import InferencePlan, predictor
from automl.bundle.loading import Bundle
from automl.bundle.manifest import Manifest
from automl.errors import UsageError
from automl.evaluation.pictures import PictureSet, open_pictures
from automl.evaluation.scoring import ImageScores, Progress, Wanted, score_pictures
from automl.evaluation.summary import class_scores
from automl.measurement.image_counts import mean_over_classes
from automl.measurement.resampling import (
    RESAMPLES,
    bootstrap_weights,
    holm,
    percentile_interval,
    permutation_p,
    swaps,
)
from automl.records import Split

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRequest:
    """What to compare, and on what."""

    bundles: tuple[Path, Path]
    data: str
    split: Split = "val"
    plan: InferencePlan = field(default_factory=InferencePlan)
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A score of the first and of the second, and the second's gain.

    `interval` holds 95 % of the gains of paired bootstrap resamples. `p` is two-sided; that of a
    class is adjusted for the number of classes. All None where one of the two has no score.
    """

    first: float | None
    second: float | None
    interval: tuple[float, float] | None = None
    p: float | None = None

    @property
    def gain(self) -> float | None:
        """The second's score minus the first's."""
        return None if self.first is None or self.second is None else self.second - self.first


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The IoU of two bundles: its mean over classes, and each class's own."""

    bundles: tuple[Path, Path]
    manifests: tuple[Manifest, Manifest]
    pictures: PictureSet
    plan: InferencePlan
    mean: Difference
    classes: tuple[Difference, ...]
    seed: int


def compare(request: ComparisonRequest, hear: Progress) -> Comparison:
    """Score both bundles on the same pictures, and test their differences.

    Raises BundleError for a damaged bundle, DataError for a dataset that is not sound, UsageError
    where classes differ or nothing is labelled.
    """
    first, second = (Bundle.load(path, threads=request.threads) for path in request.bundles)
    classes = first.manifest.classes
    if set(classes) != set(second.manifest.classes):
        raise UsageError(
            f"{second.path}: its classes are {', '.join(second.manifest.classes)}; those of "
            f"{first.path} are {', '.join(classes)}: only bundles of the same classes compare"
        )
    found = [_scored(bundle, request, hear) for bundle in (first, second)]
    (pictures, mine), (_, other) = found
    order = [second.manifest.classes.index(name) for name in classes]
    theirs = replace(other, confusion_nkk=other.confusion_nkk[:, order][:, :, order])
    if not mine.confusion_nkk.any():
        raise UsageError(f"{request.data}: no pixel of split {request.split} is labelled")
    mean, by_class = differences(mine, theirs, seed=request.seed)
    return Comparison(
        bundles=request.bundles,
        manifests=(first.manifest, second.manifest),
        pictures=pictures,
        plan=request.plan,
        mean=mean,
        classes=by_class,
        seed=request.seed,
    )


def differences(
    first: ImageScores, second: ImageScores, *, seed: int
) -> tuple[Difference, tuple[Difference, ...]]:
    """How the mean IoU and each class's differ between two scorings of the same images."""
    num_images = len(first.names)
    both = ImageScores(
        names=(*first.names, *second.names),
        confusion_nkk=np.concatenate([first.confusion_nkk, second.confusion_nkk]),
    )
    once, drawn_bn = np.ones((1, num_images)), bootstrap_weights(num_images, RESAMPLES, seed)
    moved_bn = swaps(num_images, RESAMPLES, seed)
    observed = _sides(both, once, np.zeros_like(once))
    resampled = _sides(both, drawn_bn, np.zeros_like(drawn_bn))
    relabelled = _sides(both, 1 - moved_bn, moved_bn)
    gaps_bs = relabelled[1] - relabelled[0]
    gains_s = (observed[1] - observed[0])[0]
    *p_classes, p_mean = [
        permutation_p(float(gain), gaps_b) if np.isfinite(gain) else None
        for gain, gaps_b in zip(gains_s, gaps_bs.T, strict=True)
    ]
    *classes, mean = [
        _difference(observed, resampled, place, p)
        for place, p in enumerate([*_adjusted(p_classes), p_mean])
    ]
    return mean, tuple(classes)


def _scored(
    bundle: Bundle, request: ComparisonRequest, hear: Progress
) -> tuple[PictureSet, ImageScores]:
    manifest = bundle.manifest
    seed = manifest.seeds.get("split", 0)
    pictures = open_pictures(request.data, request.split, manifest, split_seed=seed)
    predict = predictor(bundle, request.plan, threads=request.threads)
    return pictures, score_pictures(pictures, predict, len(manifest.classes), Wanted(), hear)


def _sides(both: ImageScores, stay_bn: Floats, move_bn: Floats) -> tuple[Floats, Floats]:
    """The scores (B, S) of each side, where images stay with it or move to the other by weight."""
    mine = _scores(both, np.concatenate([stay_bn, move_bn], axis=1))
    theirs = _scores(both, np.concatenate([move_bn, stay_bn], axis=1))
    return mine, theirs


def _scores(both: ImageScores, weights_bn: Floats) -> Floats:
    """The IoU of each class, and their mean as the last column."""
    iou_bk = class_scores(both, "iou", weights_bn)
    return np.concatenate([iou_bk, mean_over_classes(iou_bk)[:, None]], axis=1)


def _adjusted(p_values: list[float | None]) -> list[float | None]:
    """P values of the classes, adjusted for the number of those that were tested."""
    adjusted = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(adjusted) for p in p_values]


def _difference(
    observed: tuple[Floats, Floats], resampled: tuple[Floats, Floats], place: int, p: float | None
) -> Difference:
    first, second = (_value(values[0, place]) for values in observed)
    if first is None or second is None:
        return Difference(first=first, second=second)
    gains_b = resampled[1][:, place] - resampled[0][:, place]
    return Difference(first=first, second=second, interval=percentile_interval(gains_b), p=p)


def _value(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
