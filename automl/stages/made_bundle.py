"""A verified bundle of a network that a command made outside of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from automl.bundle.card import model_card
from automl.bundle.manifest import (
    InputContract,
    Latency,
    Manifest,
    package_versions,
    packages_of,
)
from automl.bundle.masks import default_colours
from automl.bundle.verify import verify_bundle
from automl.bundle.writing import write_bundle
from automl.data.dataset import Dataset
from automl.jobs.scoring import score_file
from automl.measurement.latency import LatencyStats
from automl.records import Lineage, Normalisation, Scalar, Split
from automl.stages.export import golden_images
from automl.stages.recorded import recorded_intervals, recorded_scores
from automl.store.atomic import replace_folder, staged_path

_GOLDEN = 3
_SCORED_ON: tuple[Split, ...] = ("val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An exported network and what its bundle says of it; it takes images of the dataset's size."""

    name: str
    artifact: Path
    normalisation: Normalisation
    lineage: Lineage
    params: Mapping[str, Scalar]
    params_m: float
    macs_g: float
    seeds: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """How long the file took in a runtime with so many threads, on the processor `cpu`."""

    stats: LatencyStats
    runtime: str
    cpu: str
    threads: int


def write_made_bundle(place: Path, made: Made, timed: Timed, dataset: Dataset) -> Path:
    """Score the file on val and test, write its bundle, verify it, and put it in its place."""
    manifest = _manifest(made, timed, dataset)
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = staged_path(place)
    write_bundle(
        fresh,
        artifact=made.artifact,
        manifest=manifest,
        golden=golden_images(dataset.split("val"), _GOLDEN),
        model_card=model_card(manifest),
    )
    verify_bundle(fresh)
    replace_folder(fresh, place)
    return place


def _manifest(made: Made, timed: Timed, dataset: Dataset) -> Manifest:
    info = dataset.info
    scored = [
        found
        for split in _SCORED_ON
        for found in score_file(
            made.artifact, dataset, split, threads=timed.threads, runtime=timed.runtime
        )
    ]
    return Manifest(
        name=made.name,
        task=info.task,
        classes=info.classes,
        colours=default_colours(info.classes),
        input=InputContract(size=info.size, resize=info.resize, normalisation=made.normalisation),
        metrics=recorded_scores(scored),
        intervals=recorded_intervals(scored, info.counts),
        latency=Latency(
            p50_ms=timed.stats.p50_ms,
            p95_ms=timed.stats.p95_ms,
            cpu_p50_ms=timed.stats.cpu_p50_ms if timed.threads == 1 else None,
            device=f"cpu: {timed.cpu}",
            runtime=timed.runtime,
            threads=timed.threads,
            batch=1,
        ),
        size_mb=made.artifact.stat().st_size / 1e6,
        params_m=made.params_m,
        macs_g=made.macs_g,
        precision=made.lineage.precision,
        lineage=made.lineage,
        params=made.params,
        dataset_name=info.name,
        dataset_fingerprint=info.fingerprint,
        seeds=made.seeds,
        metrics_runtime=timed.runtime,
        packages=package_versions(packages_of(timed.runtime)),
        created=datetime.now(UTC),
    )
