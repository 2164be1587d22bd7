"""A trial of a study trained again: the recipe of its record, in a folder of its own."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from automl.errors import StudyError
from automl.jobs.context import JobContext, torch_threads
from automl.jobs.early_stop import early_end
from automl.jobs.trial import TrainTrial, TrialRun, train_in_this_process
from automl.records import TrialConfig, TrialMessage, Verdict
from automl.store.atomic import write_text
from automl.training.checkpoint import load_checkpoint

#: Takes the number of an epoch, from 1, and its scores.
HearEpoch = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainJob:
    """A trial to train for `epochs` epochs; `context.study_root` is where its files go.

    The schedule stays that of a full trial, so a trial that was stopped early is repeated exactly.
    """

    context: JobContext
    config: TrialConfig
    epochs: int

    @property
    def name(self) -> str:
        """The job in words."""
        return f"trial {self.config.number} with seed {self.config.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainOutcome:
    """Whether the trial reached its last epoch, and a line about it."""

    trained: bool
    summary: str


@dataclass(frozen=True, slots=True)
class _StopAt:
    """Passes epochs on, and stops after the last one that is wanted."""

    epochs: int
    hear: HearEpoch

    def report(self, _config: TrialConfig, message: TrialMessage) -> Verdict:
        """Take one message."""
        if message.kind != "epoch":
            return Verdict.CONTINUE
        self.hear(message.epoch, message.metrics)
        return Verdict.STOP if message.epoch >= self.epochs else Verdict.CONTINUE


def retrain(job: RetrainJob, hear: HearEpoch, *, train: TrainTrial = train_in_this_process) -> None:
    """Train the trial, or go on from its checkpoint; raises what the training raises."""
    run = TrialRun(job.config, job.context, _StopAt(job.epochs, hear), time.monotonic())
    with torch_threads(job.context.threads):
        train(run)


def retrain_trial(job: RetrainJob) -> RetrainOutcome:
    """Train the trial where that is not done yet; a fault is told in the outcome."""
    job = replace(job, context=job.context.here())
    folder = job.context.folder.trial(job.config.trial_id)
    try:
        job.context.bring(folder, job.context.folder.beginning)
        if _is_trained(job):
            return RetrainOutcome(trained=True, summary="trained before")
        retrain(job, _ignore)
    except StudyError:
        raise  # the study's fault (a full disk, say), not this trial's
    except Exception as error:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "error.txt", traceback.format_exc())
        job.context.keep(folder)
        why = f"failed: {type(error).__name__}: {error} (see {folder / 'error.txt'})"
        return RetrainOutcome(trained=False, summary=why)
    early = early_end(folder, job.context.experiment.train)
    told = f"trained to epoch {job.epochs}" if early is None else early
    return RetrainOutcome(trained=True, summary=told)


def _is_trained(job: RetrainJob) -> bool:
    folder = job.context.folder.trial(job.config.trial_id) / "checkpoint"
    checkpoint = load_checkpoint(folder, torch.device("cpu"))
    if checkpoint is None:
        return False
    train = job.context.experiment.train
    return checkpoint.epoch >= job.epochs or early_end(folder.parent, train) is not None


def _ignore(_epoch: int, _metrics: Mapping[str, float]) -> None:
    """A job in another process has no one to tell."""
