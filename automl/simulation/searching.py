"""The study's own search, and successive halving that waits for whole rungs, side by side.

Both make the same promises: trial 0 trains to the end beside the rungs, the others are compared
after the same epochs, and one in eta goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from automl.conductor.conductor import Conductor
from automl.conductor.snapshot import Snapshot
from automl.fidelity import rung_epochs
from automl.records import TrialConfig, TrialMessage, TrialStatus, Verdict, value_of
from automl.scheduling import next_to_promote, quota
from automl.simulation.engine import SimulatedClock
from automl.space.forms import parse_free_space
from automl.space.search_plan import SearchPlan, plan_from

_STAND_IN = {"draw": {"float": [0.0, 1.0], "default": 0.5}}


class NoLog:
    """The event log of a search that nobody continues."""

    def append(self, event: Mapping[str, Any]) -> None:
        """Nothing is kept."""

    def read(self) -> list[dict[str, Any]]:
        """Nothing was kept."""
        return []


class NobodyWatches:
    """An observer of a search that nobody looks at."""

    def on_message(self, config: TrialConfig, message: TrialMessage, verdict: Verdict) -> None:
        """Nothing."""

    def on_promoted(self, config: TrialConfig, epoch: int) -> None:
        """Nothing."""

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Nothing."""


def conductor_of(plan: SearchPlan, clock: SimulatedClock) -> Conductor:
    """The conductor of a study, as a search that starts now would have it."""
    return Conductor(plan, NoLog(), observer=NobodyWatches(), clock=clock)


def stand_in_plan(
    *, trials: int, epochs: int, min_epochs: int, eta: int, objectives: Mapping[str, str]
) -> SearchPlan:
    """A search over one parameter that means nothing, where scripts say what trials do."""
    return plan_from(
        _STAND_IN,
        objectives=dict(objectives),
        constraints={},
        epochs=epochs,
        search={
            "trials": trials,
            "sampler": "random",
            "min_epochs": min_epochs,
            "eta": eta,
        },
    )


def stood_in(plan: SearchPlan) -> SearchPlan:
    """A plan with its budgets and rungs, over one parameter that means nothing."""
    unused = {"sampler": "random", "points": (), "screen": None}
    return replace(
        plan,
        space=parse_free_space(_STAND_IN),
        search=plan.search.model_copy(update=unused),
        constraints={},
    )


class SynchronousHalving:
    """Successive halving without promotion: a rung is judged once all of its trials are there.

    Source: Jamieson and Talwalkar 2016, algorithm 1. What is infeasible comes to no rung, and a
    rung's quota is of those that came.
    """

    def __init__(self, plan: SearchPlan) -> None:
        self._plan = plan
        search = plan.search
        self._rungs = rung_epochs(search.min_epochs, plan.epochs, search.eta)
        configs = [
            TrialConfig(number=n, seed=n, params={"draw": 0.0}) for n in range(search.trials)
        ]
        self._configs = {config.trial_id: config for config in configs}
        self._beside = configs[0].trial_id
        self._ready = deque(configs)
        self._expected = {config.trial_id for config in configs[1:]}
        self._level = 0
        self._arrived: dict[str, list[float]] = {}
        self._costs: dict[str, TrialMessage] = {}
        self._allowed: dict[str, int] = {}

    def next_trial(self) -> TrialConfig | None:
        """A trial of the rung that is being filled."""
        return self._ready.popleft() if self._ready else None

    def handle(self, trial_id: str, message: TrialMessage) -> Verdict:
        """Trials wait at their rung for all others."""
        if message.kind == "costs":
            self._costs[trial_id] = message
        elif message.kind == "end" and message.status is TrialStatus.INFEASIBLE:
            self._expected.discard(trial_id)
            self._judge_full_rung()
        elif message.kind == "epoch":
            return self._verdict(trial_id, message)
        return Verdict.CONTINUE

    def _verdict(self, trial_id: str, message: TrialMessage) -> Verdict:
        if trial_id == self._beside or self._level == len(self._rungs):
            return Verdict.CONTINUE
        if message.epoch != self._rungs[self._level] or self._allowed.get(trial_id, 0) >= (
            message.epoch
        ):
            return Verdict.CONTINUE
        self._arrived[trial_id] = self._losses(trial_id, message)
        self._judge_full_rung()
        return Verdict.PAUSE

    def _judge_full_rung(self) -> None:
        if self._level == len(self._rungs) or set(self._arrived) != self._expected:
            return
        chosen = self._chosen()
        self._allowed |= dict.fromkeys(chosen, self._rungs[self._level])
        self._ready.extend(self._configs[name] for name in chosen)
        self._expected, self._arrived = set(chosen), {}
        self._level += 1

    def _chosen(self) -> list[str]:
        """The best of the rung, in the order in which a promotion would take them."""
        names, losses = list(self._arrived), list(self._arrived.values())
        waiting, promoted = [True] * len(names), [False] * len(names)
        chosen = []
        for _ in range(quota(len(names), self._plan.search.eta)):
            index = next_to_promote(losses, waiting, promoted)
            waiting[index], promoted[index] = False, True
            chosen.append(names[index])
        return chosen

    def _losses(self, trial_id: str, message: TrialMessage) -> list[float]:
        costs = self._costs[trial_id].measurements
        values = [
            (objective, message.metrics.get(objective.metric, value_of(costs, objective.metric)))
            for objective in self._plan.objectives
        ]
        return [objective.loss(value) for objective, value in values if value is not None]
