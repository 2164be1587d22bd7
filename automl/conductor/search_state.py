"""All that a search knows, as its events made it: applied live, and again from the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from automl.bounds import violations
from automl.conductor.mirror import Mirror
from automl.conductor.rungs import Rungs
from automl.conductor.tally import Tally
from automl.conductor.trial_state import TrialState
from automl.fidelity import rung_epochs
from automl.records import (
    Objective,
    Scalar,
    TrialConfig,
    TrialMessage,
    TrialStatus,
    Verdict,
    from_json,
)
from automl.sampling.proposer import Proposer
from automl.space.search_plan import SearchPlan


class SearchState:
    """The trials, the rungs, what the sampler was told, and what is counted."""

    def __init__(
        self,
        plan: SearchPlan,
        mirror: Mirror,
        extra_points: Sequence[Mapping[str, Scalar]],
    ) -> None:
        search, epochs = plan.search, plan.epochs
        rungs = rung_epochs(search.min_epochs, epochs, search.eta)
        self._plan = plan
        self._mirror = mirror
        self._fidelities = (*rungs, epochs)
        self.proposer = Proposer(
            plan.space,
            plan.objectives,
            sampler=search.sampler,
            seed=search.seed,
            points=(*search.points, *extra_points),
            fidelities=self._fidelities,
            num_trials=search.trials,
            bounds=plan.constraints,
        )
        self.rungs = Rungs(rungs, search.eta)
        self.tally = Tally()
        self.trials: dict[str, TrialState] = {}
        self.paused: set[str] = set()
        self.elapsed_s = 0.0

    def replay(self, event: Mapping[str, Any]) -> None:
        """Apply an event of the journal."""
        self.elapsed_s = max(self.elapsed_s, float(event["elapsed"]))
        if event["kind"] == "proposed":
            self.propose(from_json(TrialConfig, event["config"]))
        elif event["kind"] == "promoted":
            self.promote(event["trial_id"], event["epoch"])
        else:
            trial = self.trials[event["trial_id"]]
            message = from_json(TrialMessage, event["message"])
            self.take(trial, message, Verdict(event["verdict"]), float(event["added_seconds"]))

    def propose(self, config: TrialConfig) -> TrialState:
        """A trial begins."""
        trial = TrialState(config)
        self.trials[config.trial_id] = trial
        for listener in (self.proposer, self._mirror):
            listener.begin(config.number, config.params)
        return trial

    def promote(self, trial_id: str, epoch: int) -> TrialState:
        """A trial that waited, at a rung or for a larger budget, goes on."""
        trial = self.trials[trial_id]
        trial.verdicts[epoch] = Verdict.CONTINUE
        if epoch in self.rungs:
            self.rungs.promote(trial_id, epoch)
        self.paused.discard(trial_id)
        return trial

    def take(
        self, trial: TrialState, message: TrialMessage, verdict: Verdict, added_s: float
    ) -> None:
        """A trial has reported."""
        trial.seconds += added_s
        self.tally.device_seconds += added_s * self._plan.workers
        trial.apply(message)
        if message.kind == "epoch":
            trial.verdicts[message.epoch] = verdict
            self.tally.epochs += self._plan.epoch_cost(message.epoch)
            self._score(trial, message.epoch, verdict)
        elif message.status is not None:
            self._end(trial, message.status)

    def arrives(self, trial: TrialState, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Enter a trial at the rung of `epoch`; False where it does not compete there.

        Trial 0, the default configuration, is what all others are compared with: it is beside the
        rungs and trains to the end.
        """
        if trial.config.number == 0 or epoch not in self.rungs:
            return False
        losses = trial.losses_of(self._plan.objectives, metrics)
        if losses is None:
            return False
        self.rungs.arrive(trial.config.trial_id, epoch, losses)
        return True

    def _score(self, trial: TrialState, epoch: int, verdict: Verdict) -> None:
        objectives, number = self._plan.objectives, trial.config.number
        losses = trial.losses(objectives, epoch)
        if losses is None:
            return
        self.tally.score(number, losses)
        if epoch in self._fidelities:
            values = _values(objectives, losses)
            for listener in (self.proposer, self._mirror):
                listener.observe(number, epoch, values)
        if not self.arrives(trial, epoch, trial.epochs[epoch]):
            return
        self.tally.judge(number)
        if verdict is Verdict.CONTINUE:
            self.rungs.promote(trial.config.trial_id, epoch)
        elif verdict is Verdict.PAUSE:
            self.paused.add(trial.config.trial_id)

    def _end(self, trial: TrialState, status: TrialStatus) -> None:
        name, number = trial.config.trial_id, trial.config.number
        self.tally.ended[status] += 1
        self.tally.judge(number)
        self.paused.discard(name)
        self.rungs.give_up(name)
        if status in (TrialStatus.INFEASIBLE, TrialStatus.FAILED):
            missed = violations(self._plan.constraints, trial.measurements)
            told = {} if status is TrialStatus.FAILED else missed
            for listener in (self.proposer, self._mirror):
                listener.reject(number, told)
        elif status is TrialStatus.COMPLETED:
            self._stands_for_later_epochs(trial)
        self._show_end(trial, status)

    def _stands_for_later_epochs(self, trial: TrialState) -> None:
        """A trial that ended by itself gets no better: its last scores count for all epochs."""
        losses = trial.losses(self._plan.objectives, trial.last_epoch)
        if losses is None:
            return
        values = _values(self._plan.objectives, losses)
        for epoch in self._fidelities:
            if epoch > trial.last_epoch:
                for listener in (self.proposer, self._mirror):
                    listener.observe(trial.config.number, epoch, values)

    def _show_end(self, trial: TrialState, status: TrialStatus) -> None:
        objectives = self._plan.objectives
        losses = trial.losses(objectives, trial.last_epoch)
        self._mirror.end(
            trial.config.number,
            status,
            None if losses is None else _values(objectives, losses),
            {
                "trial_id": trial.config.trial_id,
                "epochs": trial.last_epoch,
                "reason": trial.reason,
            },
        )


def _values(objectives: Sequence[Objective], losses: Sequence[float]) -> list[float]:
    return [objective.value(loss) for objective, loss in zip(objectives, losses, strict=True)]
