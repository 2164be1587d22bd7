"""One trial, from its sample to its end: cost first, then training; a fault is a result."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from automl.errors import StudyError
from automl.jobs.context import JobContext, Reporter, torch_threads
from automl.jobs.costs import measure_costs
from automl.jobs.inheritance import start_from_donor
from automl.jobs.network import build_network
from automl.jobs.settings import fit_settings, supervised_loss
from automl.models.build import normalisation_for
from automl.records import TrialConfig, TrialMessage, TrialStatus, Verdict, violations
from automl.space.parameters import parameters_from
from automl.store.atomic import write_text
from automl.training.loop import fit


@dataclass(frozen=True, slots=True)
class TrialRun:
    """One attempt at a trial: what it trains, where it reports, and when it began."""

    config: TrialConfig
    context: JobContext
    reporter: Reporter
    started: float

    def tell(self, message: TrialMessage) -> Verdict:
        """Report one message of this trial."""
        return self.reporter.report(self.config, message)

    def seconds(self) -> float:
        """Time since the attempt began."""
        return time.monotonic() - self.started

    def report(self, epoch: int, metrics: Mapping[str, float]) -> Verdict:
        """Report one epoch; called by the training loop."""
        return self.tell(
            TrialMessage(kind="epoch", seconds=self.seconds(), epoch=epoch, metrics=metrics)
        )

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
    """Run one trial to its end; any fault becomes a FAILED end, told with its reason."""
    run = TrialRun(config, context, reporter, time.monotonic())
    try:
        with torch_threads(context.threads):
            _gate_then_train(run, train_in_this_process if train is None else train)
    except StudyError:
        raise  # the study's fault (a full disk, say), not this trial's
    except Exception as error:
        folder = context.folder.trial(config.trial_id)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "error.txt", traceback.format_exc())
        run.end(TrialStatus.FAILED, f"{type(error).__name__}: {error}")


def _gate_then_train(run: TrialRun, train: TrainTrial) -> None:
    measurements = measure_costs(run.config, run.context)
    run.tell(TrialMessage(kind="costs", seconds=run.seconds(), measurements=measurements))
    constraints = run.context.experiment.constraints
    broken = {k: v for k, v in violations(constraints, measurements).items() if v > 0}
    if broken:
        texts = [f"{k} {constraints[k] + v:.4g} > {constraints[k]:g}" for k, v in broken.items()]
        run.end(TrialStatus.INFEASIBLE, ", ".join(texts))
    elif not train(run):
        run.end(TrialStatus.COMPLETED, None)


def train_in_this_process(run: TrialRun) -> bool:
    """Train here; in a group of processes, every process calls this. True if stopped early."""
    params = parameters_from(run.config.params)
    dataset = run.context.dataset()
    experiment = run.context.experiment
    model = build_network(params, dataset.info, seed=run.config.seed)
    if experiment.train.inherit:
        start_from_donor(model, run.config, run.context)
    normalisation = normalisation_for(params.model_spec(), dataset.info.normalisation)
    fitted = fit(
        model,
        dataset,
        fit_settings(params, experiment.train, normalisation=normalisation, seed=run.config.seed),
        step_loss=supervised_loss(params, dataset.info),
        reporter=run,
        checkpoint_folder=run.context.folder.trial(run.config.trial_id) / "checkpoint",
    )
    return fitted.stopped
