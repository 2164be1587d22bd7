"""One trial of a function: its costs first, then its epochs; a fault in it is a result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automl.bounds import broken_bounds
from automl.errors import StudyError, TrialError
from automl.records import Measurement, Scalar, TrialConfig, TrialMessage, TrialStatus, Verdict
from automl.reporting import Reporter
from automl.space.search_plan import SearchPlan
from automl.store.layout import StudyFolder
from automl.store.room import is_disk_full, no_room


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a function is to evaluate.

    `params` are the active parameters. `epochs` is the most that the trial trains, and
    `epochs_done` what it has trained already: where that is more than 0, go on from what was kept
    in `folder`. `folder` exists, is the trial's own, and None where the search keeps nothing.
    """

    number: int
    params: Mapping[str, Scalar]
    seed: int
    epochs: int
    epochs_done: int
    folder: Path | None


Metrics = Mapping[str, float]
#: Gives the metrics, or yields them after each epoch.
Evaluate = Callable[[Trial], Metrics | Iterator[Metrics]]
#: What is known of a configuration before it is evaluated.
Costs = Callable[[Mapping[str, Scalar]], Metrics]


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionTrial:
    """Runs a trial of `evaluate`; `epochs_done` gives the epochs on record of a trial's id."""

    plan: SearchPlan
    evaluate: Evaluate
    costs: Costs | None
    root: Path | None
    epochs_done: Callable[[str], int]

    def __call__(self, config: TrialConfig, reporter: Reporter) -> None:
        """Run to the end, or until the verdict is not to go on."""
        run = _Run(config, reporter, time.monotonic())
        try:
            self._gate_then_evaluate(run)
        except StudyError:
            raise
        except Exception as error:
            if is_disk_full(error):
                raise no_room(f"what trial {config.number} keeps") from error
            run.end(TrialStatus.FAILED, f"{type(error).__name__}: {error}")

    def _gate_then_evaluate(self, run: _Run) -> None:
        done = self.epochs_done(run.config.trial_id)
        costs: Metrics = {}
        if self.costs is not None:
            costs = _numbers(self.costs(dict(run.config.params)), "costs")
            _need(costs, self.plan.constraints, "costs gave no value of the constraint")
            broken = broken_bounds(self.plan.constraints, run.tell_costs(costs))
            if broken is not None:
                run.end(TrialStatus.INFEASIBLE, broken)
                return
        wanted = [o.metric for o in self.plan.objectives if o.metric not in costs]
        if done == self.plan.epochs:
            run.end(TrialStatus.COMPLETED, None)
            return
        with closing(_epochs(self.evaluate(self._trial(run.config, done)))) as epochs:
            for metrics in epochs:
                done += 1
                _need(metrics, wanted, "evaluate gave no value of the objective")
                if run.tell_epoch(done, metrics) is not Verdict.CONTINUE:
                    return
                if done == self.plan.epochs:
                    break
        if done == 0:
            raise TrialError("evaluate gave no metrics at all")
        early = f"ended by itself after {done} of {self.plan.epochs} epochs"
        run.end(TrialStatus.COMPLETED, early if done < self.plan.epochs else None)

    def _trial(self, config: TrialConfig, epochs_done: int) -> Trial:
        folder = None if self.root is None else StudyFolder(self.root).trial(config.trial_id)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return Trial(
            number=config.number,
            params=dict(config.params),
            seed=config.seed,
            epochs=self.plan.epochs,
            epochs_done=epochs_done,
            folder=folder,
        )


@dataclass(frozen=True, slots=True)
class _Run:
    """One attempt at a trial: what it is, where it reports, and when it began."""

    config: TrialConfig
    reporter: Reporter
    started: float

    def tell_costs(self, costs: Metrics) -> tuple[Measurement, ...]:
        measured = tuple(Measurement(metric=name, value=value) for name, value in costs.items())
        self._tell(kind="costs", measurements=measured)
        return measured

    def tell_epoch(self, epoch: int, metrics: Metrics) -> Verdict:
        return self._tell(kind="epoch", epoch=epoch, metrics=metrics)

    def end(self, status: TrialStatus, reason: str | None) -> None:
        self._tell(kind="end", status=status, reason=reason)

    def _tell(self, **content: Any) -> Verdict:
        seconds = time.monotonic() - self.started
        return self.reporter.report(self.config, TrialMessage(seconds=seconds, **content))


def _epochs(answer: object) -> Generator[Metrics]:
    """The metrics epoch by epoch: of a generator all, of a mapping the one."""
    if isinstance(answer, Mapping):
        yield _numbers(answer, "evaluate")
        return
    if not isinstance(answer, Iterator):
        raise TrialError(
            f"evaluate gave {answer!r}; allowed: a mapping of metrics, or a generator that yields "
            "one after each epoch"
        )
    try:
        for metrics in answer:
            yield _numbers(metrics, "evaluate")
    finally:
        close = getattr(answer, "close", None)
        if close is not None:
            close()


def _numbers(metrics: object, source: str) -> dict[str, float]:
    """Metrics as plain numbers; raises TrialError for anything else."""
    if not isinstance(metrics, Mapping):
        raise TrialError(f"{source} gave {metrics!r}; allowed: a mapping of metrics to numbers")
    try:
        numbers = {str(name): float(value) for name, value in metrics.items()}
    except (TypeError, ValueError) as error:
        raise TrialError(f"{source} gave a value that is no number: {error}") from error
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise TrialError(f"{source} gave {name} = {value}; it must be finite")
    return numbers


def _need(metrics: Metrics, names: Mapping[str, float] | list[str], problem: str) -> None:
    for name in names:
        if name not in metrics:
            raise TrialError(f"{problem} {name!r}; it gave: {', '.join(metrics) or 'nothing'}")
