"""One trial, from its sample to its end: cost first, then training; a fault is a result."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from automl.bounds import broken_bounds
from automl.errors import StudyError
from automl.jobs.applied import verify_applied
from automl.jobs.context import JobContext, torch_threads
from automl.jobs.costs import measure_costs
from automl.jobs.early_stop import early_end
from automl.jobs.inheritance import start_from_donor
from automl.jobs.memory import (
    TooLargeError,
    memory_file,
    noting_memory,
    read_note,
    within_memory,
)
from automl.jobs.speed import read_choice
from automl.jobs.trainee import trainee_of
from automl.records import TrialConfig, TrialMessage, TrialStatus, Verdict
from automl.reporting import Reporter
from automl.space.parameters import parameters_from
from automl.store.atomic import write_text
from automl.store.room import is_disk_full, no_room
from automl.training.loop import prepared
from automl.training.ranks import global_rank


@dataclass(frozen=True, slots=True)
class TrialRun:
    """One attempt at a trial: what it trains, where it reports, and when it began."""

    config: TrialConfig
    context: JobContext
    reporter: Reporter
    started: float

    def tell(self, message: TrialMessage) -> Verdict:
        """Report one message of this trial, whose files others find by then."""
        if global_rank() == 0:  # the others have no checkpoints
            self.context.keep(self.folder)
        return self.reporter.report(self.config, message)

    @property
    def folder(self) -> Path:
        """The trial's folder."""
        return self.context.folder.trial(self.config.trial_id)

    def bring(self) -> None:
        """Have what the trial has left, on whatever node."""
        self.context.bring(self.folder, self.context.folder.beginning)

    def seconds(self) -> float:
        """Time since the attempt began."""
        return time.monotonic() - self.started

    def report(self, epoch: int, metrics: Mapping[str, float]) -> Verdict:
        """Report one epoch; called by the training loop."""
        return self.tell(
            TrialMessage(
                kind="epoch",
                seconds=self.seconds(),
                epoch=epoch,
                metrics=metrics,
                reason=self.note(),
                speed=read_choice(self.folder),
            )
        )

    def note(self) -> str | None:
        """How the trial trains otherwise than declared: in pieces, after it ran out of memory."""
        note = read_note(self.folder)
        return None if note is None else str(note)

    def end(self, status: TrialStatus, reason: str | None) -> None:
        """Report the end."""
        self.tell(TrialMessage(kind="end", seconds=self.seconds(), status=status, reason=reason))


class TrainTrial(Protocol):
    """Trains one trial, in this process or in a group of workers; True if it was stopped."""

    def __call__(self, run: TrialRun) -> bool:
        """Train to the last epoch or until a verdict says stop."""


def run_trial(
    config: TrialConfig, context: JobContext, reporter: Reporter, *, train: TrainTrial | None = None
) -> None:
    """Run one trial to its end; any fault becomes a FAILED end, told with its reason.

    A trial that does not fit into memory is INFEASIBLE. Raises StudyError for what is the study's
    fault, such as a full disk: the trial has no end then, and goes on when the study does.
    """
    run = TrialRun(config, context.here(), reporter, time.monotonic())
    try:
        run.bring()
        with torch_threads(context.threads):
            _gate_then_train(run, train_in_this_process if train is None else train)
    except StudyError:
        raise  # the study's fault, not this trial's
    except TooLargeError as error:
        run.end(TrialStatus.INFEASIBLE, str(error))
    except Exception as error:
        if is_disk_full(error):
            raise no_room(f"{run.folder}, or a scratch file") from error
        write_text(run.folder / "error.txt", traceback.format_exc())
        run.end(TrialStatus.FAILED, f"{type(error).__name__}: {error}")


def _gate_then_train(run: TrialRun, train: TrainTrial) -> None:
    measurements = measure_costs(run.config, run.context)
    run.tell(TrialMessage(kind="costs", seconds=run.seconds(), measurements=measurements))
    broken = broken_bounds(run.context.experiment.constraints, measurements)
    if broken is not None:
        run.end(TrialStatus.INFEASIBLE, broken)
    elif not within_memory(run.folder, lambda: _attempt(run, train)):
        told = (early_end(run.folder, run.context.experiment.train), run.note())
        reason = "; ".join(note for note in told if note is not None)
        run.end(TrialStatus.COMPLETED, reason if reason else None)


def _attempt(run: TrialRun, train: TrainTrial) -> bool:
    """Train; after a fault on other nodes, have what they learnt of their memory."""
    try:
        return train(run)
    except StudyError:
        raise
    except Exception:
        run.context.bring(memory_file(run.folder))
        raise


def train_in_this_process(run: TrialRun) -> bool:
    """Train here; in a group of processes, every process calls this. True if stopped early.

    Every process verifies that its own trial is what was sampled before it trains.
    """
    params = parameters_from(run.config.params)
    with _keeping_note(run), noting_memory(run.folder, params.batch_size):
        trainee = trainee_of(run.config, run.context)
        with prepared(
            trainee.model,
            trainee.dataset,
            trainee.settings,
            step_loss=trainee.loss,
            checkpoint_folder=run.folder / "checkpoint",
        ) as prepared_run:
            verify_applied(trainee.sample, prepared_run)
            trainee.beginning.verify(prepared_run)
            if run.context.experiment.train.inherit and prepared_run.epochs_done == 0:
                start_from_donor(prepared_run.module.model, run.config, run.context)
            return prepared_run.to_the_end(run).stopped


@contextmanager
def _keeping_note(run: TrialRun) -> Iterator[None]:
    """Keep what a process learnt of its memory before its fault is known to others."""
    try:
        yield
    except Exception:
        run.context.keep(memory_file(run.folder))
        raise
