"""Cross-validation: one configuration trained once a fold, each time scored on that fold.

The folder of it holds `cross-validation.json`, what is validated and what has come of it so far;
and for each fold, while it trains, its images and its checkpoints. A fold's scores are in that file
before the next fold begins, so the same command goes on where it was stopped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from automl.data.dataset import Dataset
from automl.data.folds import Folds, deal_folds
from automl.errors import UsageError
from automl.jobs.context import JobContext
from automl.jobs.retrain import RetrainJob, retrain
from automl.measurement.repeats import MeanInterval, mean_interval
from automl.records import Scalar, TrialConfig
from automl.space.experiment import Experiment
from automl.stages.trial_record import best_trial, trial_record
from automl.store.atomic import write_json
from automl.store.layout import StudyFolder

RESULT_FILE = "cross-validation.json"
_SCHEMA_VERSION = 1

#: Hears the fold, from 0, and the scores on it, once they are on disk.
HearFold = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """What is validated: a configuration on the folds of a dataset, in a folder of its own.

    `done` maps a fold to its scores after the last epoch.
    """

    experiment: Experiment
    params: Mapping[str, Scalar]
    folds: Folds
    num_folds: int
    out: Path
    threads: int
    done: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """The seed of the folds and of every training."""
        return self.experiment.search.seed

    def declaration(self) -> dict[str, Any]:
        """What makes it this cross-validation and no other, as plain JSON values."""
        return {
            "params": dict(self.params),
            "experiment": self.experiment.key(),
            "fingerprint": self.folds.dataset.info.fingerprint,
            "folds": self.num_folds,
            "seed": self.seed,
        }

    def intervals(self) -> dict[str, MeanInterval]:
        """Each metric's mean over the folds that are done, with its 95 % interval."""
        names = dict.fromkeys(name for scores in self.done.values() for name in scores)
        return {
            name: mean_interval([own[name] for own in self.done.values() if name in own])
            for name in names
        }


def plan_cross_validation(
    experiment: Experiment,
    dataset: Dataset,
    params: Mapping[str, Scalar],
    *,
    num_folds: int,
    out: Path,
    threads: int,
) -> CrossValidation:
    """Check all that can be checked, and take up what the folder holds already.

    Raises UsageError for folds that the dataset does not bear, for trials of several workers, and
    for a folder that holds something else.
    """
    if experiment.train.workers > 1:
        raise UsageError(
            f"train.workers: given {experiment.train.workers}; allowed here: 1, since folds train "
            "in this process"
        )
    plan = CrossValidation(
        experiment=experiment,
        params=params,
        folds=deal_folds(dataset, num_folds, experiment.search.seed),
        num_folds=num_folds,
        out=out,
        threads=threads,
    )
    return replace(plan, done=_taken_up(plan))


def cross_validate(plan: CrossValidation, hear: HearFold) -> CrossValidation:
    """Train and score the folds that are missing; raises what the training raises."""
    done = dict(plan.done)
    for fold in range(plan.num_folds):
        if fold in done:
            continue
        done[fold] = _fold_scores(plan, fold)
        _write(plan, done)
        hear(fold, done[fold])
        shutil.rmtree(_folder(plan, fold), ignore_errors=True)
    return replace(plan, done=done)


def optimism(plan: CrossValidation) -> tuple[str, ...]:
    """What makes the scores rather too good: a fold is scored that steered its own training."""
    steering = {
        "train.early_stop ends a training": plan.experiment.train.early_stop is not None,
        "schedule: plateau lowers its learning rate": plan.params.get("schedule") == "plateau",
    }
    return tuple(
        f"{how} by the fold that it is scored on: the scores are optimistic"
        for how, holds in steering.items()
        if holds
    )


def trial_params(study: Path, named: str) -> dict[str, Scalar]:
    """The configuration of a trial of a study: by number, by id, or the `best` of its accuracy.

    Raises UsageError where there is no such trial.
    """
    folder = StudyFolder(study)
    trial = best_trial(folder) if named == "best" else named
    return dict(trial_record(folder, trial).config.params)


def _fold_scores(plan: CrossValidation, fold: int) -> dict[str, float]:
    folder = _folder(plan, fold)
    dataset = plan.folds.write(fold, folder / "data")
    context = JobContext(
        experiment=plan.experiment,
        study_root=folder,
        dataset_root=dataset.root,
        threads=plan.threads,
    )
    last: dict[str, float] = {}

    def listen(_epoch: int, metrics: Mapping[str, float]) -> None:
        last.clear()
        last.update(metrics)

    config = TrialConfig(number=fold, seed=plan.seed, params=plan.params)
    retrain(RetrainJob(context=context, config=config, epochs=plan.experiment.train.epochs), listen)
    return last


def _write(plan: CrossValidation, done: Mapping[int, Mapping[str, float]]) -> None:
    now = replace(plan, done=done)
    document = {
        "schema_version": _SCHEMA_VERSION,
        "declaration": plan.declaration(),
        "folds": [
            {"fold": fold, "images": plan.folds.size(fold), "scores": dict(done[fold])}
            for fold in sorted(done)
        ],
        "means": {
            name: {"mean": own.mean, "half_width": own.half_width, "folds": own.count}
            for name, own in now.intervals().items()
        },
    }
    write_json(plan.out / RESULT_FILE, document)


def _taken_up(plan: CrossValidation) -> dict[int, Mapping[str, float]]:
    """The scores in the folder; it is made where it is not there."""
    file = plan.out / RESULT_FILE
    if not file.is_file():
        if plan.out.exists() and (not plan.out.is_dir() or any(plan.out.iterdir())):
            raise UsageError(f"--out: {plan.out} holds something else; allowed: a new folder")
        plan.out.mkdir(parents=True, exist_ok=True)
        _write(plan, {})
        return {}
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        declared, folds = document["declaration"], document["folds"]
        done: dict[int, Mapping[str, float]] = {
            int(each["fold"]): dict(each["scores"]) for each in folds
        }
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file}: damaged: {error!r}; give another --out") from error
    if declared != json.loads(json.dumps(plan.declaration())):
        changed = [name for name, own in plan.declaration().items() if declared.get(name) != own]
        raise UsageError(
            f"--out: {plan.out} holds another cross-validation ({', '.join(changed)} differ): give "
            "another folder"
        )
    return done


def _folder(plan: CrossValidation, fold: int) -> Path:
    return plan.out / f"fold{fold}"
