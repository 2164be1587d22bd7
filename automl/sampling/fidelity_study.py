"""What trials were worth at one fidelity, as a study of Optuna's in memory.

No trial is told twice, however many proposals are asked for:

- a trial is RUNNING until it reaches the fidelity; TPE takes it as bad (constant liar);
- it is COMPLETE with its values when it does;
- an infeasible or failed one is COMPLETE with a violated constraint. Optuna ignores failed trials,
  and comes back for more; the values are the worst seen so far, for GPSampler, which models them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState

from automl.records import Objective, Scalar
from automl.sampling.generations import Generations
from automl.sampling.optuna_space import OptunaSpace
from automl.sampling.violation import met, missed

_NAME = "study"


class FidelityStudy:
    """Begins and ends trials, and asks a sampler what to try next."""

    def __init__(
        self,
        space: OptunaSpace,
        objectives: Sequence[Objective],
        bounds: Mapping[str, float],
        generations: Generations | None,
    ) -> None:
        self._space = space
        self._objectives = tuple(objectives)
        self._bounds = bounds
        self._generations = generations
        self._storage, self._study = self._empty()
        self._trial_ids: dict[int, int] = {}
        self._ended: set[int] = set()
        self._worst: tuple[float, ...] | None = None
        self.num_observed = 0

    @property
    def num_ended(self) -> int:
        """How many trials reached this fidelity or can no longer reach it."""
        return len(self._ended)

    def begin(self, number: int, params: Mapping[str, Scalar]) -> None:
        """Add a trial that runs, where it is not here already."""
        if number not in self._trial_ids:
            self._trial_ids[number] = self._add_running(params)

    def has_ended(self, number: int) -> bool:
        """Whether a trial reached this fidelity or can no longer reach it."""
        return number in self._ended

    def complete(self, number: int, values: Sequence[float]) -> None:
        """A trial reached the fidelity; values that are no numbers are a failure."""
        if not all(map(math.isfinite, values)):
            self.reject(number, {})
            return
        self.num_observed += 1
        self._worst = self._worse(values)
        self._end(number, values, met(self._bounds))

    def reject(self, number: int, violations: Mapping[str, float]) -> None:
        """A trial will not reach the fidelity: it is infeasible, or failed ({})."""
        worst = (0.0,) * len(self._objectives) if self._worst is None else self._worst
        self._end(number, worst, missed(self._bounds, violations))

    def ask(
        self, sampler: BaseSampler, pending: Iterable[Mapping[str, Scalar]]
    ) -> dict[str, Scalar]:
        """What `sampler` would try next, beside trials that run and are not in this study.

        All that asking adds to the study ends as failed, which no sampler looks at.
        """
        study = optuna.load_study(study_name=_NAME, storage=self._storage, sampler=sampler)
        beside = [self._add_running(params) for params in pending]
        trial = study.ask()
        try:
            return self._space.suggest(trial)
        finally:
            study.tell(trial, state=TrialState.FAIL)
            for trial_id in beside:
                self._storage.set_trial_state_values(trial_id, TrialState.FAIL)

    def _add_running(self, params: Mapping[str, Scalar]) -> int:
        return self._storage.create_new_trial(
            self._storage.get_study_id_from_name(_NAME), self._space.running(params)
        )

    def _empty(self) -> tuple[InMemoryStorage, optuna.Study]:
        """A study whose own sampler, of which nothing is asked, does nothing when it is told."""
        storage = InMemoryStorage()
        directions = [StudyDirection[o.direction.upper()] for o in self._objectives]
        storage.create_new_study(directions, _NAME)
        study = optuna.load_study(study_name=_NAME, storage=storage, sampler=RandomSampler())
        return storage, study

    def _end(self, number: int, values: Sequence[float], constraints: Mapping[str, float]) -> None:
        trial_id = self._trial_ids[number]
        trial = Trial(self._study, trial_id)
        for name, value in constraints.items():
            trial.set_constraint(name, value)
        if self._generations is not None:
            self._generations.enter(self._storage, trial_id)
        self._study.tell(trial, list(values))
        self._ended.add(number)
        if self._generations is not None:
            self._inherit(self._generations)

    def _inherit(self, generations: Generations) -> None:
        """Start a new study from the parents of the next generation, where there are some."""
        heirs = generations.heirs(self._study)
        if heirs:
            self._storage, self._study = self._empty()
            self._study.add_trials(heirs)
            generations.settle(self._study)

    def _worse(self, values: Sequence[float]) -> tuple[float, ...]:
        """The worst of each objective so far, `values` included."""
        if self._worst is None:
            return tuple(values)
        return tuple(
            objective.value(max(objective.loss(worst), objective.loss(value)))
            for objective, worst, value in zip(self._objectives, self._worst, values, strict=True)
        )
