"""A bundle scored on a split, and set against what its manifest recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from automl.bundle.inference import InferencePlan, Predict, predictor
from automl.bundle.loading import Bundle
from automl.bundle.manifest import Manifest
from automl.errors import UsageError
from automl.evaluation.pictures import PictureSet, open_pictures
from automl.evaluation.scoring import (
    EXTRAS,
    ImageScores,
    Progress,
    Wanted,
    confusion_at,
    score_pictures,
)
from automl.evaluation.summary import Summary, summarise
from automl.measurement.boundary import DEFAULT_TOLERANCE, Tolerance
from automl.measurement.scores import scores
from automl.records import Split

#: Largest difference of a mIoU that floating-point numbers of another processor explain.
_SAME = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """What to score, on what, and how."""

    bundle: Path
    data: str
    split: Split = "test"
    metrics: tuple[str, ...] = ("iou", "dice")
    plan: InferencePlan = field(default_factory=InferencePlan)
    tolerance: Tolerance = DEFAULT_TOLERANCE
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The mIoU that the manifest records on a split, and the one of the same pictures here.

    Both are of the bundle's own file on images and masks resized to the network's size; `recorded`
    is None where the manifest has none of the split, `interval` where it has none of this score.
    """

    recorded: float | None
    repeated: float
    interval: tuple[float, float] | None = None

    @property
    def reproduced(self) -> bool | None:
        """Whether the record was met; None without one."""
        return None if self.recorded is None else abs(self.repeated - self.recorded) <= _SAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All that was found; `predict` makes the masks that were scored."""

    bundle: Path
    manifest: Manifest
    pictures: PictureSet
    plan: InferencePlan
    wanted: Wanted
    scores: ImageScores
    summary: Summary
    record: Record
    predict: Predict


def evaluate(request: EvaluationRequest, hear: Progress) -> Evaluation:
    """Score a bundle on a split of a dataset, at the sizes of its images.

    Raises BundleError for a damaged bundle, DataError for a dataset that is not sound, UsageError
    where the two do not fit or nothing is labelled.
    """
    bundle = Bundle.load(request.bundle, threads=request.threads)
    manifest = bundle.manifest
    pictures = open_pictures(
        request.data, request.split, manifest, split_seed=manifest.seeds.get("split", 0)
    )
    extras = tuple(name for name in EXTRAS if name in request.metrics)
    wanted = Wanted(extras=extras, tolerance=request.tolerance)
    predict = predictor(bundle, request.plan, threads=request.threads)
    num_classes = len(manifest.classes)
    found = score_pictures(pictures, predict, num_classes, wanted, hear)
    if not found.confusion_nkk.any():
        raise UsageError(f"{request.data}: no pixel of split {request.split} is labelled")
    return Evaluation(
        bundle=request.bundle,
        manifest=manifest,
        pictures=pictures,
        plan=request.plan,
        wanted=wanted,
        scores=found,
        summary=summarise(found, request.metrics, seed=request.seed),
        record=_record(bundle, pictures),
        predict=predict,
    )


def _record(bundle: Bundle, pictures: PictureSet) -> Record:
    manifest = bundle.manifest
    again_kk = confusion_at(pictures, bundle.predict, len(manifest.classes), manifest.input.frame)
    intervals = manifest.intervals.get(pictures.split)
    return Record(
        interval=None if intervals is None else intervals.bounds.get("miou"),
        recorded=manifest.metrics.get(pictures.split, {}).get("miou"),
        repeated=scores(again_kk).miou,
    )
