"""Distil: one student beside its teachers, held against the same student alone, by seeds.

For each seed the student trains beside the teachers, alone for as many epochs, and alone for as
many seconds of optimizer steps as the first took, since a teacher's forward pass is not free. The
folder `out` holds `seed-0/` and so on, with the three trainings' checkpoints and `gain.json`, so
the same command goes on where it was stopped, and more seeds may be asked for later. What ships is
the student of seed 0: choosing one by its score on val would be luck.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from automl.jobs.candidates import ARTIFACT
from automl.jobs.context import torch_threads
from automl.jobs.costs import export_wrapped
from automl.jobs.int8_ladder import Meter
from automl.jobs.int8_tuning import NeverStop
from automl.jobs.network import build_network
from automl.jobs.settings import fit_settings, supervised_loss
from automl.jobs.students import teaching_loss
from automl.measurement.cost import model_cost
from automl.measurement.repeats import MeanInterval, mean_interval
from automl.models.build import SegmentationNet
from automl.records import Lineage, from_json, to_json
from automl.stages.distill_plan import DistillPlan
from automl.stages.made_bundle import Made, Timed, write_made_bundle
from automl.store.atomic import remove_abandoned, staged_folder, write_json
from automl.training.loop import fit
from automl.training.steps import StepLoss

_GAIN = "gain.json"
_TAUGHT = "taught"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The mIoU on val after so many epochs, and the wall seconds of their optimizer steps."""

    epochs: int
    miou: float
    step_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """The trainings of one seed: beside the teachers, alone, and alone for as many seconds."""

    seed: int
    taught: Training
    alone: Training
    longer: Training


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """The trainings of all seeds, and the verified bundle of the first one's student."""

    gains: tuple[Gain, ...]
    bundle: Path

    @property
    def over_epochs(self) -> MeanInterval:
        """What the teachers add to the mIoU, for the same epochs."""
        return mean_interval([gain.taught.miou - gain.alone.miou for gain in self.gains])

    @property
    def over_seconds(self) -> MeanInterval:
        """What the teachers add to the mIoU, for the same seconds of optimizer steps."""
        return mean_interval([gain.taught.miou - gain.longer.miou for gain in self.gains])


def distil(plan: DistillPlan, meter: Meter, hear: Callable[[Gain], None]) -> Distilled:
    """Train what is not trained yet; `hear` is told of each seed."""
    out = plan.request.out
    remove_abandoned(out)
    gains = []
    with torch_threads(plan.request.threads):
        for seed in range(plan.request.seeds):
            gain = _gain(plan, seed)
            hear(gain)
            gains.append(gain)
        bundle = _bundle(plan, meter, gains[0])
    return Distilled(gains=tuple(gains), bundle=bundle)


def _gain(plan: DistillPlan, seed: int) -> Gain:
    file = plan.request.out / f"seed-{seed}" / _GAIN
    if file.exists():
        return from_json(Gain, json.loads(file.read_text(encoding="utf-8")))
    epochs = plan.request.epochs
    _, taught = _taught(plan, seed)
    alone = _alone(plan, seed, "alone", epochs)
    more = _kept_number(
        file.with_name("longer.json"),
        max(1, round(epochs * taught.step_seconds / alone.step_seconds)),
    )
    longer = _alone(plan, seed, "longer", more)
    gain = Gain(seed=seed, taught=taught, alone=alone, longer=longer)
    write_json(file, to_json(gain))
    return gain


def _kept_number(file: Path, value: int) -> int:
    """A number that follows from measured times: a run that goes on must not change it."""
    if not file.exists():
        write_json(file, value)
    return int(json.loads(file.read_text(encoding="utf-8")))


def _taught(plan: DistillPlan, seed: int) -> tuple[SegmentationNet, Training]:
    model = build_network(plan.params, plan.dataset.info, seed=seed)
    loss = teaching_loss(
        model,
        plan.teacher,
        settings=plan.request.settings,
        params=plan.params,
        dataset=plan.dataset,
        seed=seed,
    )
    return model, _train(plan, model, loss, plan.request.epochs, _place(plan, seed, _TAUGHT), seed)


def _alone(plan: DistillPlan, seed: int, name: str, epochs: int) -> Training:
    model = build_network(plan.params, plan.dataset.info, seed=seed)
    loss = supervised_loss(plan.params, plan.dataset.info)
    return _train(plan, model, loss, epochs, _place(plan, seed, name), seed)


def _train(
    plan: DistillPlan, model: SegmentationNet, loss: StepLoss, epochs: int, place: Path, seed: int
) -> Training:
    settings = fit_settings(
        plan.params,
        plan.experiment.train,
        normalisation=plan.normalisation,
        seed=seed,
        epochs=epochs,
    )
    policy = plan.experiment.policy(plan.sample)
    done = fit(
        model,
        plan.dataset,
        settings if policy is None else replace(settings, augmentation=policy),
        step_loss=loss,
        reporter=NeverStop(),
        checkpoint_folder=place,
    )
    return Training(epochs=epochs, miou=done.metrics["miou"], step_seconds=done.step_seconds)


def _place(plan: DistillPlan, seed: int, name: str) -> Path:
    return plan.request.out / f"seed-{seed}" / name


def _bundle(plan: DistillPlan, meter: Meter, gain: Gain) -> Path:
    """The student alone goes into the file: adapters and teachers are no part of it."""
    request, info = plan.request, plan.dataset.info
    model, _ = _taught(plan, gain.seed)  # its last checkpoint, without a step
    folder = request.out / "student"
    if not folder.exists():
        with staged_folder(folder) as staged:
            export_wrapped(model, staged / ARTIFACT, info, plan.normalisation)
    artifact = folder / ARTIFACT
    params_m, macs_g = model_cost(model, info.size)
    names = ", ".join(source.name for source in plan.sources)
    made = Made(
        name=f"{info.name}-distilled",
        artifact=artifact,
        normalisation=plan.normalisation,
        lineage=Lineage(
            trial_id=plan.sources[0].name,
            kind="student",
            precision="fp32",
            recipe={**to_json(request.settings), "epochs": request.epochs},
            teacher=names,
        ),
        params=plan.sample,
        params_m=params_m,
        macs_g=macs_g,
        seeds={"study": gain.seed, "split": plan.sources[0].experiment.data.split_seed},
    )
    speed = meter.speed(artifact, artifact)
    timed = Timed(
        stats=speed.float_stats, runtime=meter.runtime(), cpu=meter.cpu(), threads=request.threads
    )
    return write_made_bundle(request.out / "bundle", made, timed, plan.dataset)
