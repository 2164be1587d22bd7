"""Export: verified bundles of the front, and two by name: `best` and `smallest`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from automl.bundle.card import model_card
from automl.bundle.dating import dated_as_before, time_of_making
from automl.bundle.manifest import (
    FurtherSeeds,
    InputContract,
    Latency,
    Manifest,
    package_versions,
    packages_of,
)
from automl.bundle.masks import default_colours
from automl.bundle.verify import verify_bundle
from automl.bundle.writing import write_bundle
from automl.data.dataset import ArrowSplit
from automl.records import IGNORE, Candidate, Split
from automl.space.experiment import TargetSettings
from automl.stages.finalists import SCORED_ON, Repeats
from automl.stages.rank import Ranking
from automl.stages.recorded import recorded_intervals, recorded_scores
from automl.stages.study import Study
from automl.store.atomic import replace_folder, staged_path

BEST = "best"
SMALLEST = "smallest"


def export(study: Study, ranking: Ranking, repeats: Repeats) -> dict[str, Path]:
    """Write and verify the bundles; their folders by name, `best` and `smallest` first.

    Raises:
        BundleError: a bundle does not replay its golden samples; it is never called finished.
    """
    named = {BEST: ranking.standing.best, SMALLEST: ranking.standing.smallest}
    chosen = {
        name: candidate
        for name, candidate_id in named.items()
        if (candidate := ranking.candidate(candidate_id)) is not None
    }
    if study.experiment.export.bundles == "front":
        chosen |= {candidate.candidate_id: candidate for candidate in ranking.front}
    return write_bundles(study, ranking, repeats, chosen)


def write_bundles(
    study: Study, ranking: Ranking, repeats: Repeats, chosen: Mapping[str, Candidate]
) -> dict[str, Path]:
    """Write and verify a bundle of each candidate under its name, and remove all others.

    Raises as `export` does.
    """
    study.narrator.say(f"export: {len(chosen)} bundles")
    golden = golden_images(study.dataset.split("val"), study.experiment.export.golden_samples)
    bundles = {name: study.folder.bundle(name) for name in chosen}
    for name, candidate in chosen.items():
        artifact = study.folder.absolute(candidate.artifact)
        manifest = bundle_manifest(study, ranking, repeats, candidate)
        manifest = dated_as_before(manifest, bundles[name], artifact)
        fresh = staged_path(bundles[name])
        fresh.parent.mkdir(parents=True, exist_ok=True)
        write_bundle(
            fresh,
            artifact=artifact,
            core=artifact.with_name("core.onnx"),
            manifest=manifest,
            golden=golden,
            model_card=model_card(manifest),
        )
        verify_bundle(fresh)
        replace_folder(fresh, bundles[name])
    _remove_others(study, keep=set(bundles))
    return bundles


def _remove_others(study: Study, *, keep: set[str]) -> None:
    """Bundles of an earlier front would pass for bundles of this one."""
    for path in study.folder.bundles.iterdir():
        if path.name not in keep:
            shutil.rmtree(path)


def golden_images(split: ArrowSplit, count: int) -> list[NDArray[np.uint8]]:
    """The images whose masks hold the most classes: they show the most of a model."""
    variety = [_num_classes(split.mask(row)) for row in range(len(split))]
    rows = sorted(range(len(split)), key=lambda row: (-variety[row], row))[:count]
    images = [split.image(row) for row in rows]
    # The last one has another size, so that replaying it also proves both resizes.
    return [*images[:-1], _other_size(images[-1])]


def _other_size(image_hwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width, _ = image_hwc.shape
    larger = Image.fromarray(image_hwc).resize((width * 5 // 4 + 1, height * 3 // 2 + 1))
    return np.asarray(larger)


def bundle_manifest(
    study: Study, ranking: Ranking, repeats: Repeats, candidate: Candidate
) -> Manifest:
    """All that the study knows of a candidate, as its bundle tells it."""
    info, search = study.dataset.info, study.experiment.search
    return Manifest(
        name=f"{info.name}-{candidate.candidate_id}",
        task=info.task,
        classes=info.classes,
        colours=default_colours(info.classes),
        input=InputContract(
            size=info.size, resize=info.resize, normalisation=candidate.normalisation
        ),
        metrics=recorded_scores(candidate.measurements),
        intervals=recorded_intervals(candidate.measurements, info.counts),
        further_seeds=_further_seeds(repeats, candidate),
        latency=_latency(study, ranking, candidate),
        size_mb=_measured(candidate, "size_mb"),
        params_m=_measured(candidate, "params_m"),
        macs_g=_measured(candidate, "macs_g"),
        precision=candidate.lineage.precision,
        lineage=candidate.lineage,
        params=candidate.params,
        dataset_name=info.name,
        dataset_fingerprint=info.fingerprint,
        seeds={"study": search.seed, "split": study.experiment.data.split_seed},
        metrics_runtime=study.experiment.target.runtime,
        packages=package_versions(packages_of(study.experiment.target.runtime)),
        created=time_of_making(),
    )


def _further_seeds(repeats: Repeats, candidate: Candidate) -> dict[Split, FurtherSeeds]:
    file = repeats.of(candidate.candidate_id)
    if file is None:
        return {}
    metric = repeats.metric
    return {
        split: FurtherSeeds(metric=metric, **asdict(file.interval(metric, split)))
        for split in SCORED_ON
    }


def _latency(study: Study, ranking: Ranking, candidate: Candidate) -> Latency:
    target = study.experiment.target
    default = ranking.candidate(ranking.standing.default)
    own_ms = _measured(candidate, "latency_ms")
    return Latency(
        p50_ms=_measured(candidate, "latency_wall_p50_ms"),
        p95_ms=_measured(candidate, "latency_wall_p95_ms"),
        cpu_p50_ms=own_ms if target.threads == 1 else None,
        ratio_to_default=None if default is None else own_ms / _measured(default, "latency_ms"),
        device=_timed_on(candidate, target),
        runtime=target.runtime,
        threads=target.threads,
        batch=target.batch,
    )


def _timed_on(candidate: Candidate, target: TargetSettings) -> str:
    """The device with its processor, where the measurement says it."""
    devices = [m.device for m in candidate.measurements if m.metric == "latency_ms"]
    return next((device for device in devices if device is not None), target.device)


def _measured(candidate: Candidate, metric: str) -> float:
    value = candidate.value(metric)
    assert value is not None, f"{candidate.candidate_id} has no {metric}"
    return value


def _num_classes(mask_hw: NDArray[np.uint8]) -> int:
    present: Sequence[int] = np.unique(mask_hw).tolist()
    return len(set(present) - {IGNORE})
