"""Quantize: one network through the INT8 ladder in one runtime; ends in a verified bundle.

The folder `out` holds a folder a rung, so the same command goes on where it was stopped, and at the
end `ladder.json` and `bundle`: the rung that won or, where none did, the network in float32.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from automl.bundle.card import model_card
from automl.bundle.manifest import InputContract, Latency, Manifest, package_versions
from automl.bundle.masks import default_colours
from automl.bundle.runtimes import absence, versions
from automl.bundle.verify import verify_bundle
from automl.bundle.wrap import wrap_network
from automl.bundle.writing import write_bundle
from automl.compression.ladder import Ladder, Rung
from automl.data.dataset import Dataset
from automl.data.importing import cached_dataset
from automl.errors import UsageError
from automl.jobs.candidates import ARTIFACT, CORE
from automl.jobs.context import torch_threads
from automl.jobs.int8_candidate import VERDICT
from automl.jobs.int8_ladder import (
    LADDER,
    LadderTask,
    Meter,
    calibration_images,
    climb_ladder,
    read_ladder,
)
from automl.jobs.int8_rungs import Material
from automl.jobs.int8_tuning import Tuning
from automl.jobs.scoring import score_file
from automl.measurement.latency import LatencyStats
from automl.measurement.processor import cpu_model
from automl.records import Split, to_json
from automl.space.compression import Int8Settings
from automl.stages.export import golden_images
from automl.stages.quantize_subject import Subject, find_subject
from automl.store.atomic import (
    remove_abandoned,
    replace_folder,
    staged_folder,
    staged_path,
    write_json,
)

#: The rungs of each runtime, least costly first. Only OpenVINO gains by the layout of NNCF.
RUNGS = {
    "onnxruntime": ("per_tensor", "per_channel", "entropy", "percentile", "mixed", "qat"),
    "openvino": ("per_tensor", "per_channel", "nncf", "entropy", "percentile", "mixed", "qat"),
}

_REQUEST = "request.json"
_FLOAT = "float32"
_BUNDLE = "bundle"
_GOLDEN = 3
_SCORED_ON: tuple[Split, ...] = ("val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeRequest:
    """What the user asks for. `rungs` is None for all that the runtime has."""

    model: Path
    data: str
    out: Path
    runtime: str
    settings: Int8Settings
    rungs: tuple[str, ...] | None
    calibration_images: int
    threads: int
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizePlan:
    """A checked request."""

    request: QuantizeRequest
    subject: Subject
    dataset: Dataset
    rungs: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """The end: the ladder, and the verified bundle of what won."""

    ladder: Ladder
    bundle: Path


def plan_quantization(request: QuantizeRequest) -> QuantizePlan:
    """Read the model and the data, and check all that can be checked before any work.

    Raises:
        UsageError: something of the request cannot be had, or `out` holds something else.
    """
    if request.runtime not in RUNGS:
        allowed = " or ".join(RUNGS)
        raise UsageError(f"--runtime: given {request.runtime}; allowed: {allowed}")
    missing = absence(request.runtime, versions())
    if missing is not None:
        raise UsageError(f"--runtime {request.runtime}: {missing}")
    rungs = _rungs(request)
    subject = find_subject(request.model)
    dataset = cached_dataset(request.data, size=subject.size, split_seed=subject.split_seed)
    if dataset.info.classes != subject.classes:
        raise UsageError(
            f"--data {request.data}: its classes are {', '.join(dataset.info.classes)}; "
            f"the model's are {', '.join(subject.classes)}"
        )
    _claim(request, rungs, subject, dataset)
    return QuantizePlan(
        request=request,
        subject=subject,
        dataset=dataset,
        rungs=rungs,
        notes=_notes(rungs, subject, dataset),
    )


def quantize(plan: QuantizePlan, meter: Meter, hear: Callable[[Rung], None]) -> Quantized:
    """Climb the ladder, or what is left of it, and write the bundle of what won."""
    out = plan.request.out
    remove_abandoned(out)
    if not (out / _FLOAT).exists():
        with staged_folder(out / _FLOAT) as staged:
            plan.subject.export(staged)
    ladder = read_ladder(out / LADDER)
    if ladder is None:
        with torch_threads(plan.request.threads):
            ladder = climb_ladder(_task(plan, meter), hear)
    else:
        for rung in ladder.rungs:
            hear(rung)
    bundle = _write_bundle(plan, ladder, _stats(plan, ladder, meter))
    write_json(out / LADDER, to_json(ladder))
    return Quantized(ladder=ladder, bundle=bundle)


def _rungs(request: QuantizeRequest) -> tuple[str, ...]:
    known = RUNGS[request.runtime]
    if request.rungs is None:
        return known
    strange = [name for name in request.rungs if name not in known]
    if strange or not request.rungs or len(set(request.rungs)) < len(request.rungs):
        raise UsageError(
            f"--rungs: given {','.join(request.rungs)}; allowed with {request.runtime}: one or more "
            f"of {', '.join(known)}, each once"
        )
    return request.rungs


def _claim(
    request: QuantizeRequest, rungs: tuple[str, ...], subject: Subject, dataset: Dataset
) -> None:
    """Take the folder `out`, new, empty or of the same request: rungs of another do not compare."""
    asked = {
        "model": str(request.model.resolve()),
        "data": dataset.info.fingerprint,
        "runtime": request.runtime,
        "rungs": list(rungs),
        "settings": request.settings.model_dump(mode="json"),
        "calibration_images": request.calibration_images,
        "threads": request.threads,
        "rounds": request.rounds,
    }
    file, out = request.out / _REQUEST, request.out
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        if before != asked:
            changed = ", ".join(name for name in asked if before.get(name) != asked[name])
            raise UsageError(
                f"--out: {out} holds a ladder of another request (other: {changed}); choose a new "
                "or an empty folder"
            )
        return
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"--out: {out} is there already; allowed: a new or an empty folder")
    if out.resolve().is_relative_to(subject.source.resolve()):
        raise UsageError(f"--out: {out} lies in the model, which is only read; choose another")
    out.mkdir(parents=True, exist_ok=True)
    write_json(file, asked)


def _notes(rungs: tuple[str, ...], subject: Subject, dataset: Dataset) -> tuple[str, ...]:
    notes = []
    if dataset.info.fingerprint != subject.fingerprint:
        notes.append("not the data that the model was made on: all is measured on the data given")
    if "qat" in rungs and subject.trainable is None:
        notes.append(
            "qat: a bundle cannot be fine-tuned; give the trial's folder, STUDY/trials/ID, for that"
        )
    return tuple(notes)


def _task(plan: QuantizePlan, meter: Meter) -> LadderTask:
    request, subject, dataset = plan.request, plan.subject, plan.dataset
    return LadderTask(
        network=subject.name,
        folder=request.out / "rungs",
        float_artifact=request.out / _FLOAT / ARTIFACT,
        rungs=plan.rungs,
        material=Material(
            core=request.out / _FLOAT / CORE,
            calibration=lambda count: calibration_images(dataset, subject.normalisation, count),
            images=request.calibration_images,
            tune=_tuning(plan),
        ),
        wrap=lambda artifact: wrap_network(
            artifact.with_name(CORE),
            artifact,
            normalisation=subject.normalisation,
            size=subject.size,
            num_classes=len(subject.classes),
        ),
        meter=meter,
        gates=request.settings,
    )


def _tuning(plan: QuantizePlan) -> Tuning | None:
    trainable = plan.subject.trainable
    if trainable is None:
        return None
    return Tuning(
        network=trainable.network,
        dataset=plan.dataset,
        train=trainable.experiment.train,
        settings=plan.request.settings,
        seed=trainable.seed,
        checkpoints=plan.request.out / "qat",
    )


def _write_bundle(plan: QuantizePlan, ladder: Ladder, stats: LatencyStats) -> Path:
    """The bundle of the chosen rung; without one that of the network in float32."""
    out, place = plan.request.out, plan.request.out / _BUNDLE
    won = _won(ladder)
    artifact = (out / _FLOAT if won is None else out / "rungs" / won.name) / ARTIFACT
    manifest = _manifest(plan, ladder, artifact, stats)
    fresh = staged_path(place)
    write_bundle(
        fresh,
        artifact=artifact,
        manifest=manifest,
        golden=golden_images(plan.dataset.split("val"), _GOLDEN),
        model_card=model_card(manifest),
    )
    verify_bundle(fresh)
    replace_folder(fresh, place)
    return place


def _manifest(plan: QuantizePlan, ladder: Ladder, artifact: Path, stats: LatencyStats) -> Manifest:
    subject, info, won = plan.subject, plan.dataset.info, _won(ladder)
    scored = {
        split: score_file(artifact, plan.dataset, split, threads=plan.request.threads)
        for split in _SCORED_ON
    }
    made = {} if won is None else {"int8_rung": won.name, **won.recipe}
    lineage = replace(
        subject.lineage,
        precision="fp32" if won is None else "int8",
        recipe={**subject.lineage.recipe, **made, VERDICT: ladder.reason},
    )
    return Manifest(
        name=subject.name if won is None else f"{subject.name}-{won.name}",
        task=info.task,
        classes=subject.classes,
        colours=default_colours(subject.classes),
        input=InputContract(size=subject.size, normalisation=subject.normalisation),
        metrics={split: {m.metric: m.value for m in scores} for split, scores in scored.items()},
        latency=_latency(plan.request, stats),
        size_mb=artifact.stat().st_size / 1e6,
        params_m=subject.params_m,
        macs_g=subject.macs_g,
        precision=lineage.precision,
        lineage=lineage,
        params=subject.params,
        dataset_name=info.name,
        dataset_fingerprint=info.fingerprint,
        seeds=subject.seeds,
        packages=package_versions(),
        created=datetime.now(UTC),
    )


def _won(ladder: Ladder) -> Rung | None:
    return None if ladder.chosen is None else ladder.rung(ladder.chosen)


def _stats(plan: QuantizePlan, ladder: Ladder, meter: Meter) -> LatencyStats:
    """The timing of what won, or of the float32 file, as it was measured on the ladder."""
    won = _won(ladder)
    if won is not None and won.speed is not None:
        return won.speed.int8_stats
    timed = [rung.speed.float_stats for rung in ladder.rungs if rung.speed is not None]
    if timed:
        return timed[0]
    artifact = plan.request.out / _FLOAT / ARTIFACT
    return meter.speed(artifact, artifact).float_stats


def _latency(request: QuantizeRequest, stats: LatencyStats) -> Latency:
    return Latency(
        p50_ms=stats.p50_ms,
        p95_ms=stats.p95_ms,
        cpu_p50_ms=stats.cpu_p50_ms if request.threads == 1 else None,
        device=f"cpu: {cpu_model()}",
        runtime=request.runtime,
        threads=request.threads,
        batch=1,
    )
