"""The quality of an exported file in the runtime of the target; each is scored once in each.

Scores are kept beside the file, by its content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from automl.bundle.evaluation import counts_of
from automl.bundle.in_runtime import open_labeller
from automl.data.dataset import Dataset
from automl.measurement.image_counts import ImageCounts, iou_intervals
from automl.measurement.scores import scores as quality_of
from automl.records import Measurement, Split, from_json, to_json
from automl.store.atomic import write_json

#: Intervals are drawn by this seed: the same file has the same interval everywhere.
INTERVAL_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementFile:
    """Measurements as kept on disk, one list a candidate."""

    measurements: tuple[tuple[Measurement, ...], ...]


def score_file(
    artifact: Path, dataset: Dataset, split: Split, *, threads: int, runtime: str
) -> tuple[Measurement, ...]:
    """The mIoU, Dice, accuracy and IoU of classes of a wrapped network on a split."""
    # Those of ONNX Runtime lie where they did before there were others.
    where = "" if runtime == "onnxruntime" else f"{runtime}-"
    kept = artifact.parent / f"scores-{split}-{where}{digest(artifact)}.json"
    (measurements,) = kept_measurements(
        kept,
        lambda: [measured_quality(artifact, dataset, split, threads=threads, runtime=runtime)],
    )
    return measurements


def kept_measurements(
    file: Path, measure: Callable[[], Sequence[tuple[Measurement, ...]]]
) -> tuple[tuple[Measurement, ...], ...]:
    """What `measure` gave when it was first asked."""
    if file.exists():
        return from_json(MeasurementFile, json.loads(file.read_text(encoding="utf-8"))).measurements
    measurements = tuple(measure())
    write_json(file, to_json(MeasurementFile(measurements=measurements)))
    return measurements


def quality_measurements(
    counts: ImageCounts, classes: Sequence[str], split: Split
) -> tuple[Measurement, ...]:
    """All scores of a split, by name; those of the IoU with their intervals over its images."""
    found, drawn = quality_of(counts.confusion_kk), iou_intervals(counts, seed=INTERVAL_SEED)
    plain = {"dice": found.dice, "pixel_accuracy": found.pixel_accuracy}
    return (
        Measurement(metric="miou", value=found.miou, split=split, interval=drawn.mean),
        *(Measurement(metric=name, value=v, split=split) for name, v in plain.items()),
        *(
            Measurement(metric=f"iou.{name}", value=value, split=split, interval=interval)
            for name, value, interval in zip(classes, found.iou, drawn.classes, strict=True)
            if value is not None
        ),
    )


def digest(path: Path) -> str:
    """What tells a file's content from another's."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def measured_quality(
    artifact: Path, dataset: Dataset, split: Split, *, threads: int, runtime: str
) -> tuple[Measurement, ...]:
    """What `score_file` keeps, measured whether or not it was before."""
    rows = dataset.split(split)
    images = (rows.image(row) for row in range(len(rows)))
    masks = (rows.mask(row) for row in range(len(rows)))
    session = open_labeller(artifact, runtime, dataset.info.size, threads=threads)
    classes = dataset.info.classes
    return quality_measurements(counts_of(session, images, masks, len(classes)), classes, split)
