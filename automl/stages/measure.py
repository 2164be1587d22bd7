"""Measure exported files in the runtime that serves them; each measurement is made once.

Scores are kept by the content of the file, timings by the contents of all files that took turns and
by the processor: running a finished study again changes neither its front nor what was scored on
test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from automl.jobs.costs import latency_measurement, ranking_ms, timing_of
from automl.jobs.scoring import digest, kept_measurements, score_file
from automl.measurement.latency import LatencyStats
from automl.records import Candidate, Measurement, Split, short_hash
from automl.stages.study import Study


def scored(study: Study, candidate: Candidate, split: Split) -> Candidate:
    """The candidate with its quality on a split added: mIoU, Dice, accuracy, IoU of classes."""
    artifact = study.folder.absolute(candidate.artifact)
    found = score_file(
        artifact,
        study.dataset,
        split,
        threads=study.backend.threads_per_job(),
        runtime=study.experiment.target.runtime,
    )
    return _with(candidate, found)


def timed(study: Study, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates with their latencies added, timed in interleaved rounds."""
    target = study.experiment.target
    artifacts = [study.folder.absolute(candidate.artifact) for candidate in candidates]
    cpu = study.backend.stopwatch().cpu()
    key = short_hash([target.model_dump(mode="json"), cpu, *map(digest, artifacts)])
    kept = study.folder.candidates / f"timings-{key}.json"
    added = kept_measurements(kept, lambda: _latencies(study, artifacts))
    return [_with(c, extra) for c, extra in zip(candidates, added, strict=True)]


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
