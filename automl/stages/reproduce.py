"""Reproduce: one trial of a study trained again from its record, and compared with it.

The study is only read: the training writes into a scratch folder.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from automl.data.dataset import Dataset
from automl.data.importing import cached_dataset, cached_for_network
from automl.data.letterbox import Frame
from automl.errors import DataError, SpaceError, UsageError
from automl.jobs.context import JobContext, available_cpus
from automl.jobs.environment import environment_here
from automl.jobs.retrain import RetrainJob, retrain
from automl.jobs.speed import keep_choice
from automl.jobs.trial import TrainTrial, train_in_this_process
from automl.records import TrialStatus
from automl.space.experiment import Experiment
from automl.stages.comparison import EpochComparison, Reproduction
from automl.stages.trial_record import TrialRecord, trial_record
from automl.store.atomic import staged_folder
from automl.store.declaration import read_declaration
from automl.store.environment import environment_differences
from automl.store.layout import StudyFolder

#: How trials end that have nothing to compare with.
_NOT_TRAINED = {
    TrialStatus.INFEASIBLE: "broke a constraint and was never trained",
    TrialStatus.FAILED: "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproductionRequest:
    """What the user asks for; None leaves what the study recorded."""

    root: Path
    trial: str
    epochs: int | None = None
    data: str | None = None
    threads: int | None = None
    tolerance: float = 0.0
    out: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproductionPlan:
    """A checked request: what is trained on what, and what may explain other numbers.

    `differences` is None where the study does not say in which environment the trial trained.
    """

    experiment: Experiment
    record: TrialRecord
    dataset: Dataset
    epochs: int
    threads: int
    runs_on: str
    differences: tuple[str, ...] | None
    tolerance: float
    out: Path | None
    beginning: Path | None = None

    @property
    def metric(self) -> str:
        """The accuracy that the search went by."""
        return self.experiment.objectives[0].metric


def plan_reproduction(request: ReproductionRequest) -> ReproductionPlan:
    """Read the record and check all that can be checked before any training.

    Raises:
        UsageError: no such study or trial, nothing to compare with, or other data than recorded.
    """
    experiment = recorded_experiment(request.root)
    folder = StudyFolder(request.root)
    record = trial_record(folder, request.trial)
    epochs = _epochs(request, record)
    _check_out(request)
    dataset = _dataset(request, experiment, folder)
    known = record.environments[-1] if record.environments else None
    threads = request.threads
    if threads is None:
        threads = available_cpus() if known is None else known.threads
    runs_on = "this process" if experiment.train.workers == 1 else "a group of workers"
    here = environment_here(experiment.train, threads=threads, runs_on=runs_on)
    return ReproductionPlan(
        experiment=experiment,
        record=record,
        dataset=dataset,
        epochs=epochs,
        threads=threads,
        runs_on=f"{here.device}, {runs_on}",
        differences=None if known is None else tuple(environment_differences(known, here)),
        tolerance=request.tolerance,
        out=request.out,
        beginning=folder.beginning if folder.beginning.exists() else None,
    )


def reproduce(
    plan: ReproductionPlan,
    hear: Callable[[EpochComparison], None],
    *,
    train: TrainTrial = train_in_this_process,
) -> Reproduction:
    """Train the trial, comparing each epoch as it ends; raises what the training raises."""
    compared: list[EpochComparison] = []

    def compare(epoch: int, metrics: Mapping[str, float]) -> None:
        recorded = plan.record.scores.get(epoch)
        compared.append(EpochComparison(epoch=epoch, recorded=recorded, reproduced=metrics))
        hear(compared[-1])

    with tempfile.TemporaryDirectory(prefix="automl-reproduce-") as scratch:
        context = JobContext(
            experiment=plan.experiment,
            study_root=Path(scratch),
            dataset_root=plan.dataset.root,
            threads=plan.threads,
        )
        if plan.beginning is not None:
            shutil.copytree(plan.beginning, context.folder.beginning)
        job = RetrainJob(context=context, config=plan.record.config, epochs=plan.epochs)
        keep_choice(context.folder.trial(job.config.trial_id), plan.record.speed)
        retrain(job, compare, train=train)
        if plan.out is not None:
            _keep(context.folder.trial(job.config.trial_id) / "checkpoint", plan.out)
    return Reproduction(metric=plan.metric, tolerance=plan.tolerance, epochs=tuple(compared))


def recorded_experiment(root: Path) -> Experiment:
    """What the study in a folder was declared as; raises UsageError where it cannot be told."""
    file = StudyFolder(root).experiment_file
    declaration = read_declaration(file)
    try:
        return Experiment.from_json(declaration.experiment)
    except SpaceError as error:
        raise UsageError(
            f"{file}: this version of automl does not know this experiment:\n{error}"
        ) from error


def _epochs(request: ReproductionRequest, record: TrialRecord) -> int:
    """How many epochs to train; the last of them at least is recorded."""
    name = f"{request.root}: trial {record.config.number}"
    why = None if record.status is None else _NOT_TRAINED.get(record.status)
    if why is not None:
        raise UsageError(f"{name} {why} ({record.reason}): there is nothing to compare with")
    if record.epochs == 0:
        raise UsageError(f"{name} has not finished an epoch yet: there is nothing to compare with")
    epochs = record.epochs if request.epochs is None else request.epochs
    if not 1 <= epochs <= record.epochs:
        raise UsageError(f"--epochs-only: given {epochs}; allowed: 1 to {record.epochs}, as {name}")
    if not any(epoch <= epochs for epoch in record.scores):
        raise UsageError(
            f"--epochs-only: given {epochs}; allowed: {record.epochs}: without its journal.jsonl "
            f"the study holds the last epoch of a trial alone"
        )
    return epochs


def _check_out(request: ReproductionRequest) -> None:
    out = request.out
    if out is None:
        return
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"--out: {out} is there already; allowed: a new or an empty folder")
    if out.resolve().is_relative_to(request.root.resolve()):
        raise UsageError(f"--out: {out} lies in the study, which is only read; choose another")


def _dataset(request: ReproductionRequest, experiment: Experiment, folder: StudyFolder) -> Dataset:
    data = experiment.data
    source = data.source if request.data is None else request.data
    recorded = folder.dataset()
    try:
        if folder.beginning.exists():
            dataset = cached_for_network(
                source,
                Frame(recorded.size, recorded.resize),
                recorded.classes,
                split_seed=data.split_seed,
            )
        else:
            dataset = cached_dataset(
                source, size=data.size, resize=data.fit, split_seed=data.split_seed
            )
    except DataError as error:
        raise UsageError(f"{error}\n--data names where the study's dataset lies now") from error
    if dataset.info.fingerprint != recorded.fingerprint:
        raise UsageError(
            f"{source}: not the dataset of this study: its fingerprint is "
            f"{dataset.info.fingerprint}, the study in {folder.root} was made on {recorded.name} "
            f"with fingerprint {recorded.fingerprint}; --data names another folder"
        )
    return dataset


def _keep(checkpoints: Path, out: Path) -> None:
    """Copy the last checkpoint, whole or not at all."""
    *_, last = sorted(checkpoints.glob("epoch-[0-9]*"))
    out.parent.mkdir(parents=True, exist_ok=True)
    with staged_folder(out) as staged:
        shutil.copytree(last, staged / last.name)
