"""The search as a state machine that a journal carries through a kill.

The journal is the truth: each proposal, cost, epoch, promotion and end is on disk before it takes
effect, so a conductor built on the journal of a killed study goes on where that one stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from automl.conductor.budget import Budget, planned_epochs
from automl.conductor.failures import FailureStreak
from automl.conductor.mirror import Mirror, NoMirror
from automl.conductor.observers import Observers
from automl.conductor.search_state import SearchState
from automl.conductor.snapshot import Best, Observer, Snapshot, time_left
from automl.conductor.trial_state import TrialState
from automl.records import (
    Scalar,
    TrialConfig,
    TrialMessage,
    TrialResult,
    TrialStatus,
    Verdict,
    to_json,
)
from automl.space.search_plan import SearchPlan

Clock = Callable[[], float]


class EventLog(Protocol):
    """Where a conductor writes what happened; `store.journal.Journal` is the real one."""

    def append(self, event: Mapping[str, Any]) -> None:
        """Write one event; it is on disk when this returns."""

    def read(self) -> list[dict[str, Any]]:
        """All events written so far, oldest first."""


class Conductor:
    """`next_trial` proposes or promotes, `handle` answers what trials report with a verdict."""

    def __init__(
        self,
        plan: SearchPlan,
        journal: EventLog,
        *,
        observer: Observer,
        clock: Clock,
        mirror: Mirror | None = None,
        extra_points: Sequence[Mapping[str, Scalar]] = (),
    ) -> None:
        self.plan = plan
        self._journal = journal
        self._observer = Observers(observer)
        self._clock = clock
        mirror = NoMirror() if mirror is None else mirror
        self._state = SearchState(plan, mirror, extra_points)
        self._budget = Budget(plan, self._state.tally)
        self._failures = FailureStreak()
        self._planned_epochs = planned_epochs(plan)
        self._running: set[str] = set()
        self._started = clock()
        for event in journal.read():
            self._state.replay(event)
        self._elapsed_before = self._state.elapsed_s
        self._end_what_an_earlier_run_left()
        self._unfinished = deque(self._unfinished_trials())
        mirror.publish()

    # ------------------------------------------------------------------ what backends call

    def watch(self, observer: Observer) -> None:
        """Let one more observer see what follows; it sees the state now at once."""
        self._observer.add(observer)
        observer.on_snapshot(self.snapshot())

    def next_trial(self) -> TrialConfig | None:
        """The next trial to run, from its checkpoint where it has one; None for nothing now.

        First come trials that an earlier run left unfinished, then those that a rung lets go on,
        then new ones. After None, the search has ended if `is_over`; else a running trial has to
        report first, and it is time to ask again.
        """
        trial = self._next()
        if trial is None:
            return None
        trial.attempt_seconds = 0.0
        self._running.add(trial.config.trial_id)
        self._observer.on_snapshot(self.snapshot())
        return trial.config

    def handle(self, trial_id: str, message: TrialMessage) -> Verdict:
        """Take one message of a running trial; the verdict says whether it goes on."""
        trial = self._state.trials[trial_id]
        if trial_id not in self._running:
            return Verdict.STOP
        known = self._known_verdict(trial, message)
        if known is not None:
            trial.notice_restart(message.seconds)
            return known
        verdict = self._judge(trial, message) if message.kind == "epoch" else Verdict.CONTINUE
        self._record(trial, message, verdict)
        self._observer.on_message(trial.config, message, verdict)
        self._observer.on_snapshot(self.snapshot())
        return verdict

    # ------------------------------------------------------------------ what stages read

    @property
    def is_over(self) -> bool:
        """Whether no trial runs; once `next_trial` has answered None, whether the search ended."""
        return not self._running

    @property
    def fault(self) -> str | None:
        """What is wrong with the study as a whole, or None."""
        return self._failures.fault

    @property
    def elapsed_s(self) -> float:
        """Seconds of search, those of earlier runs of this study included."""
        return self._elapsed_before + self._clock() - self._started

    @property
    def budget_spent(self) -> str | None:
        """Which budget is spent, so that every trial has to end; None where none is."""
        return self._budget.spent(self.elapsed_s)

    def results(self) -> list[TrialResult]:
        """Every trial that does not run, in the order of proposal."""
        trials = self._state.trials.items()
        return [self._result(trial) for name, trial in trials if name not in self._running]

    def last_epoch(self, trial_id: str) -> int:
        """The latest epoch that a trial has reported; 0 before the first."""
        return self._state.trials[trial_id].last_epoch

    def snapshot(self) -> Snapshot:
        """The state now."""
        search, tally = self.plan.search, self._state.tally
        elapsed_s = self.elapsed_s
        return Snapshot(
            planned=search.trials,
            running=len(self._running),
            paused=len(self._state.paused),
            completed=tally.ended[TrialStatus.COMPLETED],
            infeasible=tally.ended[TrialStatus.INFEASIBLE],
            failed=tally.ended[TrialStatus.FAILED],
            epochs=tally.epochs,
            planned_epochs=self._planned_epochs,
            device_hours=tally.device_seconds / 3600,
            front_size=tally.front_size,
            elapsed_s=elapsed_s,
            time_left_s=time_left(
                min(1.0, tally.epochs / self._planned_epochs), elapsed_s, search.time_budget_s
            ),
            best=self._best(),
            front=tally.front(),
            default=tally.losses(0),
        )

    # ------------------------------------------------------------------ what comes next

    def _next(self) -> TrialState | None:
        if self.fault is not None or self.budget_spent is not None:
            return None
        if self._unfinished:
            return self._continue(self._unfinished.popleft())
        promotion = self._state.rungs.next()
        if promotion is not None:
            return self._promote(*promotion)
        if len(self._state.trials) >= self.plan.search.trials or self._budget.converged():
            return None
        return self._propose(len(self._state.trials))

    def _continue(self, trial: TrialState) -> TrialState:
        """A trial of an earlier run goes on; one that a spent budget had paused is let go."""
        if trial.verdicts.get(trial.last_epoch) is Verdict.PAUSE:
            return self._promote(trial.config.trial_id, trial.last_epoch)
        return trial

    def _promote(self, trial_id: str, epoch: int) -> TrialState:
        self._log({"kind": "promoted", "trial_id": trial_id, "epoch": epoch})
        trial = self._state.promote(trial_id, epoch)
        self._observer.on_promoted(trial.config, epoch)
        return trial

    def _propose(self, number: int) -> TrialState:
        params = self._state.proposer.propose(number)
        seed = self.plan.search.seed + number
        config = TrialConfig(number=number, seed=seed, params=params)
        self._log({"kind": "proposed", "config": to_json(config)})
        return self._state.propose(config)

    # ------------------------------------------------------------------ verdicts

    def _known_verdict(self, trial: TrialState, message: TrialMessage) -> Verdict | None:
        """The answer to what is on record: a continued trial tells its costs and last epoch again.

        What was decided since holds: a trial that was promoted is not paused a second time.
        """
        if message.kind == "epoch":
            return trial.verdicts.get(message.epoch)
        is_repeated = message.kind == "costs" and bool(trial.measurements)
        return Verdict.CONTINUE if is_repeated else None

    def _judge(self, trial: TrialState, message: TrialMessage) -> Verdict:
        """The verdict on a new epoch."""
        if message.epoch >= self.plan.epochs:
            return Verdict.CONTINUE
        competes = self._state.arrives(trial, message.epoch, message.metrics)
        if self.budget_spent is not None:
            return Verdict.PAUSE
        is_next = self._state.rungs.next() == (trial.config.trial_id, message.epoch)
        return Verdict.CONTINUE if is_next or not competes else Verdict.PAUSE

    def _record(self, trial: TrialState, message: TrialMessage, verdict: Verdict) -> None:
        """Write a message, then let it take effect."""
        added_s = trial.added_seconds(message)
        self._log(
            {
                "kind": "message",
                "trial_id": trial.config.trial_id,
                "message": to_json(message),
                "verdict": verdict.value,
                "added_seconds": round(added_s, 3),
            }
        )
        self._state.take(trial, message, verdict, added_s)
        if verdict is not Verdict.CONTINUE or trial.status is not None:
            self._running.discard(trial.config.trial_id)
        if trial.status is not None:
            self._failures.count(trial.status, trial.reason)

    def _log(self, event: Mapping[str, Any]) -> None:
        self._journal.append({"elapsed": round(self.elapsed_s, 3), **event})

    # ------------------------------------------------------------------ ends

    def _end_what_an_earlier_run_left(self) -> None:
        """Write the ends that a kill kept from being written."""
        for trial in self._unfinished_trials():
            if trial.last_epoch >= self.plan.epochs:
                end = TrialMessage(kind="end", seconds=0.0, status=TrialStatus.COMPLETED)
                self._record(trial, end, Verdict.CONTINUE)

    def _unfinished_trials(self) -> list[TrialState]:
        """The trials without an end that wait at no rung."""
        return [
            trial
            for name, trial in self._state.trials.items()
            if trial.status is None and name not in self._state.paused
        ]

    def _result(self, trial: TrialState) -> TrialResult:
        """How a trial ended; one that waits has stopped, as far as anyone can say by now."""
        if trial.status is not None:
            return trial.result(trial.status, trial.reason)
        if trial.config.trial_id not in self._state.paused:
            why = self.budget_spent
            return trial.result(TrialStatus.STOPPED, "interrupted" if why is None else why)
        epoch = trial.last_epoch
        arrived, eta = self._state.rungs.arrived(epoch), self.plan.search.eta
        return trial.result(
            TrialStatus.STOPPED, f"not among the best 1/{eta} of {arrived} at epoch {epoch}"
        )

    def _best(self) -> Best | None:
        leader = self._state.tally.leader()
        if leader is None:
            return None
        number, losses = leader
        pairs = zip(self.plan.objectives, losses, strict=True)
        return Best(number=number, values=tuple(o.value(loss) for o, loss in pairs))
