"""Quantize: one network through the INT8 ladder in one runtime; ends in a verified bundle.

The folder `out` holds a folder a rung, so the same command goes on where it was stopped, and at the
end `ladder.json` and `bundle`: the rung that won or, where none did, the network in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from automl.bundle.wrap import wrap_network
from automl.compression.ladder import Ladder, Rung
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
from automl.measurement.latency import LatencyStats
from automl.records import to_json
from automl.stages.made_bundle import Made, Timed, write_made_bundle
from automl.stages.quantize_plan import QuantizePlan
from automl.store.atomic import (
    remove_abandoned,
    staged_folder,
    write_json,
)

_FLOAT = "float32"
_BUNDLE = "bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """The end: the ladder, and the verified bundle of what won."""

    ladder: Ladder
    bundle: Path


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
    bundle = _write_bundle(plan, ladder, meter)
    write_json(out / LADDER, to_json(ladder))
    return Quantized(ladder=ladder, bundle=bundle)


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
            resize=subject.resize,
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
        experiment=trainable.experiment,
        settings=plan.request.settings,
        seed=trainable.seed,
        checkpoints=plan.request.out / "qat",
    )


def _write_bundle(plan: QuantizePlan, ladder: Ladder, meter: Meter) -> Path:
    """The bundle of the chosen rung; without one that of the network in float32."""
    out, subject, won = plan.request.out, plan.subject, _won(ladder)
    rung = {} if won is None else {"int8_rung": won.name, **won.recipe}
    lineage = replace(
        subject.lineage,
        precision="fp32" if won is None else "int8",
        recipe={**subject.lineage.recipe, **rung, VERDICT: ladder.reason},
    )
    made = Made(
        name=subject.name if won is None else f"{subject.name}-{won.name}",
        artifact=(out / _FLOAT if won is None else out / "rungs" / won.name) / ARTIFACT,
        normalisation=subject.normalisation,
        lineage=lineage,
        params=subject.params,
        params_m=subject.params_m,
        macs_g=subject.macs_g,
        seeds=subject.seeds,
    )
    timed = Timed(
        stats=_stats(plan, ladder, meter),
        runtime=meter.runtime(),
        cpu=meter.cpu(),
        threads=plan.request.threads,
    )
    return write_made_bundle(out / _BUNDLE, made, timed, plan.dataset)


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
