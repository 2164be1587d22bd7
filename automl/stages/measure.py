"""Measure exported files in the runtime that serves them; each measurement is made once.

Scores are kept by the content of the file, timings by the contents of all files that took turns and
by the processor: running a finished study again changes neither its front nor what was scored on
test.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from automl.bundle.evaluation import confusion_of
from automl.bundle.runtime import open_session
from automl.data.dataset import Dataset
from automl.jobs.costs import latency_measurement, ranking_ms, timing_of
from automl.measurement.latency import LatencyStats
from automl.measurement.quality import scores as quality_of
from automl.records import Candidate, Measurement, Split, from_json, short_hash, to_json
from automl.stages.study import Study
from automl.store.atomic import write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementFile:
    """Measurements as kept on disk, one list a candidate."""

    measurements: tuple[tuple[Measurement, ...], ...]


def scored(study: Study, candidate: Candidate, split: Split) -> Candidate:
    """The candidate with its quality on a split added: mIoU, Dice, accuracy, IoU of classes."""
    artifact = study.folder.absolute(candidate.artifact)
    kept = artifact.parent / f"scores-{split}-{_digest(artifact)}.json"
    (measurements,) = _kept(kept, lambda: [_scores(study, artifact, split)])
    return _with(candidate, measurements)


def timed(study: Study, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates with their latencies added, timed in interleaved rounds."""
    target = study.experiment.target
    artifacts = [study.folder.absolute(candidate.artifact) for candidate in candidates]
    cpu = study.backend.stopwatch().cpu()
    key = short_hash([target.model_dump(mode="json"), cpu, *map(_digest, artifacts)])
    kept = study.folder.candidates / f"timings-{key}.json"
    added = _kept(kept, lambda: _latencies(study, artifacts))
    return [_with(c, extra) for c, extra in zip(candidates, added, strict=True)]


def _kept(
    file: Path, measure: Callable[[], Sequence[tuple[Measurement, ...]]]
) -> tuple[tuple[Measurement, ...], ...]:
    if file.exists():
        return from_json(MeasurementFile, json.loads(file.read_text(encoding="utf-8"))).measurements
    measurements = tuple(measure())
    write_json(file, to_json(MeasurementFile(measurements=measurements)))
    return measurements


def _scores(study: Study, artifact: Path, split: Split) -> tuple[Measurement, ...]:
    named = file_quality(artifact, study.dataset, split, threads=study.backend.threads_per_job())
    return tuple(
        Measurement(metric=name, value=value, split=split) for name, value in named.items()
    )


def file_quality(
    artifact: Path, dataset: Dataset, split: Split, *, threads: int
) -> dict[str, float]:
    """The quality of an exported file on a split, by metric."""
    classes, rows = dataset.info.classes, dataset.split(split)
    images = (rows.image(row) for row in range(len(rows)))
    masks = (rows.mask(row) for row in range(len(rows)))
    session = open_session(artifact, threads=threads)
    scores = quality_of(confusion_of(session, images, masks, len(classes)))
    return {
        "miou": scores.miou,
        "dice": scores.dice,
        "pixel_accuracy": scores.pixel_accuracy,
        **{f"iou.{k}": v for k, v in zip(classes, scores.iou, strict=True) if v is not None},
    }


def _latencies(study: Study, artifacts: Sequence[Path]) -> list[tuple[Measurement, ...]]:
    timing = timing_of(study.dataset.info, study.experiment.target)
    files = {str(artifact): artifact for artifact in artifacts}
    stats = study.backend.stopwatch().time(files, timing)
    return [_latency_measurements(study, stats[str(artifact)]) for artifact in artifacts]


def _latency_measurements(study: Study, stats: LatencyStats) -> tuple[Measurement, ...]:
    target = study.experiment.target
    spread = stats.cpu_spread_ms if target.threads == 1 else stats.spread_ms
    cpu = study.backend.stopwatch().cpu()
    decisive = latency_measurement(ranking_ms(stats, target), target, cpu=cpu, spread=spread)
    return (
        decisive,
        replace(decisive, metric="latency_wall_p50_ms", value=stats.p50_ms, spread=stats.spread_ms),
        replace(decisive, metric="latency_wall_p95_ms", value=stats.p95_ms, spread=None),
    )


def _with(candidate: Candidate, extra: Sequence[Measurement]) -> Candidate:
    return replace(candidate, measurements=(*candidate.measurements, *extra))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
