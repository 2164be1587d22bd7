"""The search as a state machine that a journal carries through a kill.

The journal is the truth: each proposal, cost, epoch and end is on disk before it takes effect,
so a conductor built on the journal of a killed study goes on where that one stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from automl.conductor.snapshot import Observer, Snapshot, best_of, count, front_size, time_left
from automl.conductor.trial_state import TrialState
from automl.records import (
    Scalar,
    TrialConfig,
    TrialMessage,
    TrialResult,
    TrialStatus,
    Verdict,
    from_json,
    to_json,
    violations,
)
from automl.sampling import Outcome, Proposer
from automl.scheduling import keeps, rung_epochs
from automl.space.experiment import Experiment

Clock = Callable[[], float]
#: This many failures in a row end the study: the fault is then not one trial's.
MAX_FAILURES_IN_A_ROW = 10
_TIME_IS_UP = "the time budget is spent"


class EventLog(Protocol):
    """Where a conductor writes what happened; `store.journal.Journal` is the real one."""

    def append(self, event: Mapping[str, Any]) -> None:
        """Write one event; it is on disk when this returns."""

    def read(self) -> list[dict[str, Any]]:
        """All events written so far, oldest first."""


class Conductor:
    """`next_trial` proposes, `handle` takes what trials report and answers with a verdict."""

    def __init__(
        self,
        experiment: Experiment,
        journal: EventLog,
        *,
        observer: Observer,
        clock: Clock,
        extra_points: Sequence[Mapping[str, Scalar]] = (),
    ) -> None:
        self._experiment = experiment
        self._journal = journal
        self._observer = observer
        self._clock = clock
        self._proposer = Proposer(
            experiment.space,
            experiment.objectives,
            sampler=experiment.search.sampler,
            seed=experiment.search.seed,
            points=(*experiment.search.points, *extra_points),
        )
        self._rungs = rung_epochs(
            experiment.search.min_epochs, experiment.train.epochs, experiment.search.eta
        )
        self._trials: dict[str, TrialState] = {}
        self._elapsed_before = 0.0
        self._started = clock()
        self._failures_in_a_row = 0
        self.fault: str | None = None
        for event in journal.read():
            self._replay(event)
        self._end_what_an_earlier_run_left()

    # ------------------------------------------------------------------ what backends call

    def next_trial(self) -> TrialConfig | None:
        """The next trial to run, or None where nothing is left to start.

        Trials that an earlier run left unfinished come first.
        """
        if self.fault is not None or self.out_of_time:
            return None
        for trial in self._trials.values():
            if trial.status is None and not trial.running:
                return self._start(trial)
        number = len(self._trials)
        if number >= self._experiment.search.trials:
            return None
        params = self._proposer.propose(number, self._outcomes())
        seed = self._experiment.search.seed + number
        config = TrialConfig(number=number, seed=seed, params=params)
        self._log({"kind": "proposed", "config": to_json(config)})
        self._trials[config.trial_id] = TrialState(config)
        return self._start(self._trials[config.trial_id])

    def handle(self, trial_id: str, message: TrialMessage) -> Verdict:
        """Take one message of a running trial; the verdict says whether it goes on."""
        trial = self._trials[trial_id]
        if trial.status is not None:
            return Verdict.STOP
        if message.kind == "epoch":
            verdict = self._on_epoch(trial, message)
        else:
            verdict = Verdict.CONTINUE
            self._record(trial, message, verdict)
        self._observer.on_message(trial.config, message, verdict)
        self._observer.on_snapshot(self.snapshot())
        return verdict

    # ------------------------------------------------------------------ what stages read

    @property
    def elapsed_s(self) -> float:
        """Seconds of search, those of earlier runs of this study included."""
        return self._elapsed_before + self._clock() - self._started

    @property
    def out_of_time(self) -> bool:
        """Whether the time budget is spent."""
        budget = self._experiment.search.time_budget_s
        return budget is not None and self.elapsed_s >= budget

    def results(self) -> list[TrialResult]:
        """Every ended trial, in the order of proposal."""
        return [trial.result() for trial in self._trials.values() if trial.status is not None]

    def snapshot(self) -> Snapshot:
        """The state now."""
        trials = list(self._trials.values())
        search = self._experiment.search
        ended = len(self.results())
        return Snapshot(
            planned=search.trials,
            running=sum(trial.running for trial in trials),
            completed=count(trials, TrialStatus.COMPLETED),
            stopped=count(trials, TrialStatus.STOPPED),
            infeasible=count(trials, TrialStatus.INFEASIBLE),
            failed=count(trials, TrialStatus.FAILED),
            epochs=sum(len(trial.epochs) for trial in trials),
            front_size=front_size(trials, self._experiment.objectives),
            elapsed_s=self.elapsed_s,
            time_left_s=time_left(ended, search.trials, self.elapsed_s, search.time_budget_s),
            best=best_of(trials, self._experiment.objectives),
        )

    # ------------------------------------------------------------------ inside

    def _start(self, trial: TrialState) -> TrialConfig:
        trial.running = True
        self._observer.on_snapshot(self.snapshot())
        return trial.config

    def _log(self, event: Mapping[str, Any]) -> None:
        self._journal.append({"elapsed": round(self.elapsed_s, 3), **event})

    def _replay(self, event: Mapping[str, Any]) -> None:
        self._elapsed_before = max(self._elapsed_before, float(event["elapsed"]))
        if event["kind"] == "proposed":
            config = from_json(TrialConfig, event["config"])
            self._trials[config.trial_id] = TrialState(config)
            return
        trial = self._trials[event["trial_id"]]
        message = from_json(TrialMessage, event["message"])
        trial.seconds += float(event["added_seconds"])
        trial.apply(message)
        if message.kind == "epoch":
            trial.verdicts[message.epoch] = Verdict(event["verdict"])

    def _end_what_an_earlier_run_left(self) -> None:
        """Write the ends that a kill kept from being written.

        A verdict to stop, or the last epoch, was followed by no end; or the time is up, and a trial
        that was running will not be continued: it counts as stopped then.
        """
        for trial in self._trials.values():
            if trial.status is not None or trial.last_epoch == 0:
                continue
            if trial.verdicts[trial.last_epoch] is Verdict.STOP:
                self._stop(trial, 0.0, "stopped at a rung before a restart")
            elif trial.last_epoch >= self._experiment.train.epochs:
                end = TrialMessage(kind="end", seconds=0.0, status=TrialStatus.COMPLETED)
                self._record(trial, end, Verdict.CONTINUE)
            elif self.out_of_time:
                self._stop(trial, 0.0, _TIME_IS_UP)

    def _on_epoch(self, trial: TrialState, message: TrialMessage) -> Verdict:
        if message.epoch in trial.verdicts:
            # A resumed trial tells its last epoch again; what was decided then still holds.
            return trial.verdicts[message.epoch]
        reason = self._reason_to_stop(trial, message)
        verdict = Verdict.CONTINUE if reason is None else Verdict.STOP
        self._record(trial, message, verdict)
        trial.verdicts[message.epoch] = verdict
        if reason is not None:
            self._stop(trial, message.seconds, reason)
        return verdict

    def _stop(self, trial: TrialState, seconds: float, reason: str) -> None:
        end = TrialMessage(kind="end", seconds=seconds, status=TrialStatus.STOPPED, reason=reason)
        self._record(trial, end, Verdict.STOP)

    def _reason_to_stop(self, trial: TrialState, message: TrialMessage) -> str | None:
        if message.epoch >= self._experiment.train.epochs:
            return None
        if self.out_of_time:
            return _TIME_IS_UP
        # The default configuration is what all others are compared with: it trains to the end.
        if trial.config.number == 0 or message.epoch not in self._rungs:
            return None
        objectives, eta = self._experiment.objectives, self._experiment.search.eta
        own = trial.losses_of(objectives, message.metrics)
        others = [
            row
            for other in self._trials.values()
            if (row := other.losses(objectives, message.epoch)) is not None
        ]
        if own is None or keeps([*others, own], len(others), eta):
            return None
        return f"not among the best 1/{eta} of {len(others) + 1} trials at epoch {message.epoch}"

    def _record(self, trial: TrialState, message: TrialMessage, verdict: Verdict) -> None:
        """Write a message, then let it take effect."""
        added = trial.added_seconds(message)
        self._log(
            {
                "kind": "message",
                "trial_id": trial.config.trial_id,
                "message": to_json(message),
                "verdict": verdict.value,
                "added_seconds": round(added, 3),
            }
        )
        trial.seconds += added
        trial.apply(message)
        if trial.status is not None:
            trial.running = False
            self._count_failures(trial)

    def _count_failures(self, ended: TrialState) -> None:
        failed = ended.status is TrialStatus.FAILED
        self._failures_in_a_row = self._failures_in_a_row + 1 if failed else 0
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            self.fault = f"{MAX_FAILURES_IN_A_ROW} trials in a row failed, the last: {ended.reason}"

    def _outcomes(self) -> list[Outcome]:
        return [self._outcome(trial) for trial in self._trials.values()]

    def _outcome(self, trial: TrialState) -> Outcome:
        objectives = self._experiment.objectives
        losses = trial.losses(objectives, trial.last_epoch)
        values = None
        if losses is not None and trial.status in (TrialStatus.COMPLETED, TrialStatus.STOPPED):
            values = tuple(o.value(loss) for o, loss in zip(objectives, losses, strict=True))
        return Outcome(
            number=trial.config.number,
            params=trial.config.params,
            values=values,
            status=trial.status,
            violations=violations(self._experiment.constraints, trial.measurements),
        )
