"""Prune: one trained network at several ratios, each held against it; ends in verified bundles.

The folder `out` holds a folder a ratio, so the same command goes on where it was stopped, and more
ratios may be asked for later: `ratio-0.25/` has the network right after pruning (`pruned/`), its
fine-tuning's checkpoints, the result (`tuned/`) and, last, `point.json`. A network that is no
faster right after pruning is not fine-tuned, since its weights would not make it faster.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from automl.compression.ladder import Speed
from automl.compression.pace import Pace, judge_pace
from automl.jobs.candidates import ARTIFACT
from automl.jobs.context import torch_threads
from automl.jobs.costs import export_wrapped
from automl.jobs.int8_ladder import Meter
from automl.jobs.int8_tuning import NeverStop
from automl.jobs.narrowing import Narrowing, narrow, narrow_and_tune
from automl.jobs.pruning_gate import PRUNING_VERDICT
from automl.jobs.settings import supervised_loss
from automl.measurement.cost import model_cost
from automl.models.build import SegmentationNet
from automl.records import Lineage, from_json, to_json
from automl.stages.made_bundle import Made, Timed, write_made_bundle
from automl.stages.prune_plan import PrunePlan
from automl.store.atomic import remove_abandoned, staged_folder, write_json
from automl.training.loop import fit

_FLOAT = "float32"
_POINT = "point.json"
_WHOLE = "whole.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One network; `pace` is its speed against that before pruning, which has none.

    `miou_pruned` is on val right after pruning, `miou` at the end; they are one where nothing was
    fine-tuned. `bundle` is None for what is refused.
    """

    ratio: float
    params_m: float
    macs_g: float
    size_mb: float
    miou_pruned: float
    miou: float
    pace: Pace | None = None
    bundle: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """The network before pruning, and a point for each ratio."""

    whole: Point
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A network and its exported file."""

    model: SegmentationNet
    artifact: Path


def prune_network(plan: PrunePlan, meter: Meter, hear: Callable[[Point], None]) -> Pruned:
    """Make what is not there yet; `hear` is told of the whole network, then of each ratio."""
    out = plan.request.out
    remove_abandoned(out)
    with torch_threads(plan.request.threads):
        whole = _File(
            model=plan.source.model, artifact=_exported(plan, plan.source.model, out / _FLOAT)
        )
        first = _kept(out / _WHOLE, lambda: _point(plan, meter, whole, 0.0))
        hear(first)
        points = []
        for ratio in plan.request.ratios:
            place = out / f"ratio-{ratio:g}"
            point = _kept(place / _POINT, partial(_made, plan, meter, whole, ratio))
            hear(point)
            points.append(point)
    return Pruned(whole=first, points=tuple(points))


def _kept(file: Path, make: Callable[[], Point]) -> Point:
    """What is on disk; else it is made, and kept."""
    if file.exists():
        return from_json(Point, json.loads(file.read_text(encoding="utf-8")))
    started = time.monotonic()
    point = make()
    point = replace(point, seconds=time.monotonic() - started)
    write_json(file, to_json(point))
    return point


def _made(plan: PrunePlan, meter: Meter, whole: _File, ratio: float) -> Point:
    request, place = plan.request, plan.request.out / f"ratio-{ratio:g}"
    place.mkdir(parents=True, exist_ok=True)
    model = narrow(whole.model, _narrowing(plan, ratio))
    file = _File(model=model, artifact=_exported(plan, model, place / "pruned"))
    point = _point(plan, meter, file, ratio)
    speed, pace = _paced(plan, meter, whole, file)
    if pace.accepted and request.epochs > 0:
        file = _tuned(plan, whole.model, ratio, place)
        point = replace(_point(plan, meter, file, ratio), miou_pruned=point.miou)
        # Pruned in steps and globally, other channels go than at once.
        speed, pace = _paced(plan, meter, whole, file)
    point = replace(point, pace=pace)
    if not pace.accepted:
        return point
    timed = Timed(
        stats=speed.int8_stats, runtime=meter.runtime(), cpu=meter.cpu(), threads=request.threads
    )
    made = _bundled(plan, point, file, pace)
    return replace(
        point,
        bundle=str(
            write_made_bundle(request.out / "bundles" / made.name, made, timed, plan.dataset)
        ),
    )


def _tuned(plan: PrunePlan, model: SegmentationNet, ratio: float, place: Path) -> _File:
    """Pruned again, as asked for, and fine-tuned by the loss that it was trained with."""
    source, request, info = plan.source, plan.request, plan.dataset.info

    def tune(narrowed: SegmentationNet, epochs: int, checkpoints: Path) -> None:
        fit(
            narrowed,
            plan.dataset,
            source.settings(
                epochs=epochs,
                learning_rate=request.learning_rate,
                seed=source.experiment.search.seed,
            ),
            step_loss=supervised_loss(source.params, info),
            reporter=NeverStop(),
            checkpoint_folder=checkpoints,
        )

    tuned = narrow_and_tune(
        model, _narrowing(plan, ratio), tune, epochs=request.epochs, folder=place
    )
    return _File(model=tuned, artifact=_exported(plan, tuned, place / "tuned"))


def _narrowing(plan: PrunePlan, ratio: float) -> Narrowing:
    return Narrowing(
        ratio=ratio,
        how=plan.request.how,
        dataset=plan.dataset,
        params=plan.source.params,
        normalisation=plan.source.normalisation,
    )


def _paced(plan: PrunePlan, meter: Meter, whole: _File, file: _File) -> tuple[Speed, Pace]:
    speed = meter.speed(whole.artifact, file.artifact)
    return speed, judge_pace(speed.ratio, plan.request.min_speedup, than="before pruning")


def _point(plan: PrunePlan, meter: Meter, file: _File, ratio: float) -> Point:
    params_m, macs_g = model_cost(file.model, plan.dataset.info.size)
    miou = meter.quality(file.artifact).miou
    return Point(
        ratio=ratio,
        params_m=params_m,
        macs_g=macs_g,
        size_mb=file.artifact.stat().st_size / 1e6,
        miou_pruned=miou,
        miou=miou,
    )


def _exported(plan: PrunePlan, model: SegmentationNet, folder: Path) -> Path:
    """The exported network; what was exported before has the same weights."""
    if not folder.exists():
        with staged_folder(folder) as staged:
            export_wrapped(model, staged / ARTIFACT, plan.dataset.info, plan.source.normalisation)
    return folder / ARTIFACT


def _bundled(plan: PrunePlan, point: Point, file: _File, pace: Pace) -> Made:
    request, source, info = plan.request, plan.source, plan.dataset.info
    how = {f"pruning_{name}": value for name, value in request.how.model_dump().items()}
    recipe = {"pruning_ratio": point.ratio, **how, "epochs": request.epochs}
    return Made(
        name=f"{info.name}-pruned-{point.ratio:g}",
        artifact=file.artifact,
        normalisation=source.normalisation,
        lineage=Lineage(
            trial_id=source.name,
            kind="student",
            precision="fp32",
            recipe={**recipe, PRUNING_VERDICT: pace.verdict},
            teacher=source.name,
        ),
        params=source.sample,
        params_m=point.params_m,
        macs_g=point.macs_g,
        seeds=source.seeds,
    )
