"""What an evaluation leaves on disk: `evaluation.json` and `images.parquet`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from automl.evaluation.evaluate import Evaluation
from automl.evaluation.scoring import ImageScores
from automl.evaluation.summary import Score
from automl.measurement.confusion import normalised_rows
from automl.measurement.panoptic import panoptic_quality
from automl.measurement.repeats import CONFIDENCE
from automl.measurement.resampling import RESAMPLES
from automl.store.atomic import staged_file

Floats = NDArray[np.float64]

SCHEMA_VERSION = 1


def evaluation_document(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as plain JSON values."""
    summary, manifest, plan = evaluation.summary, evaluation.manifest, evaluation.plan
    record = evaluation.record
    return {
        "schema_version": SCHEMA_VERSION,
        "bundle": {"name": manifest.name, "path": str(evaluation.bundle)},
        "data": {
            "name": evaluation.pictures.dataset,
            "source": evaluation.pictures.source,
            "split": evaluation.pictures.split,
            "images": summary.num_images,
        },
        "measured_on": "images and masks at their own sizes",
        "inference": {
            "window": plan.window,
            "overlap": plan.overlap,
            "scales": plan.scales,
            "flip": plan.flip,
        },
        "boundary_tolerance": {
            "value": evaluation.wanted.tolerance.value,
            "unit": evaluation.wanted.tolerance.unit,
        },
        "instances": "components",
        "intervals": {"share": CONFIDENCE, "resamples": RESAMPLES, "seed": summary.seed},
        "pixel_accuracy": _plain(summary.pixel_accuracy),
        "means": {metric: _plain(score) for metric, score in summary.means.items()},
        "classes": [
            {
                "name": name,
                "images": summary.images_with[index],
                **{metric: _plain(own[index]) for metric, own in summary.classes.items()},
            }
            for index, name in enumerate(manifest.classes)
        ],
        "confusion": evaluation.scores.confusion_kk.tolist(),
        "confusion_shares": normalised_rows(evaluation.scores.confusion_kk).tolist(),
        "recorded": {
            "miou": record.recorded,
            "interval": record.interval,
            "miou_here_at_network_size": record.repeated,
            "reproduced": record.reproduced,
        },
    }


def write_images(scores: ImageScores, classes: Sequence[str], destination: Path) -> None:
    """Write a row an image: its mIoU, its accuracy, and each metric of each class."""
    table = pa.table(image_columns(scores, classes))
    with staged_file(destination) as staged:
        pq.write_table(table, staged)


def image_columns(scores: ImageScores, classes: Sequence[str]) -> dict[str, Any]:
    """The columns of `images.parquet`, without a value where an image has none."""
    confusion_nkk = scores.confusion_nkk
    labelled_n = confusion_nkk.sum(axis=(1, 2))
    hits_n = np.trace(confusion_nkk, axis1=1, axis2=2).astype(np.float64)
    accuracy_n = np.divide(
        hits_n, labelled_n, out=np.full(len(hits_n), np.nan), where=labelled_n > 0
    )
    by_class: Mapping[str, Floats] = {
        "iou": scores.iou_nk,
        **{
            name: panoptic_quality(values) if name == "panoptic_components" else values
            for name, values in scores.extras.items()
        },
    }
    return {
        "name": pa.array(scores.names, pa.string()),
        "labelled_pixels": pa.array(labelled_n, pa.int64()),
        "miou": _column(scores.miou_n),
        "pixel_accuracy": _column(accuracy_n),
        **{
            f"{metric}.{label}": _column(values_nk[:, index])
            for metric, values_nk in by_class.items()
            for index, label in enumerate(classes)
        },
    }


def _column(values_n: Floats) -> Any:
    return pa.array(values_n, pa.float64(), mask=~np.isfinite(values_n))


def _plain(score: Score) -> dict[str, Any]:
    assert score.value is None or math.isfinite(score.value)
    return {"value": score.value, "interval": score.interval}
