"""A search as a study of Optuna's, for people and tools that read one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState

from automl.records import Objective, Scalar, TrialStatus
from automl.sampling.optuna_space import OptunaSpace
from automl.sampling.quiet import experiments_accepted
from automl.sampling.violation import FAILED


class MirrorStudy:
    """One trial of Optuna's for each of the search's, in the order in which they begin."""

    def __init__(
        self,
        log: BaseJournalBackend,
        name: str,
        objectives: Sequence[Objective],
        space: OptunaSpace,
    ) -> None:
        self._objectives = tuple(objectives)
        self._space = space
        self._storage = JournalStorage(log)
        directions = [StudyDirection[o.direction.upper()] for o in self._objectives]
        self._study_id = self._storage.create_new_study(directions, name)
        self._study = optuna.load_study(
            study_name=name, storage=self._storage, sampler=RandomSampler()
        )
        with experiments_accepted():
            self._study.set_metric_names([objective.metric for objective in self._objectives])
        self._trial_ids: dict[int, int] = {}

    def begin(self, number: int, params: Mapping[str, Scalar]) -> None:
        """Add a trial that runs."""
        self._trial_ids[number] = self._storage.create_new_trial(
            self._study_id, self._space.running(params)
        )

    def observe(self, number: int, fidelity: int, values: Sequence[float]) -> None:
        """An intermediate value, or an attribute where Optuna knows none: of several objectives."""
        trial_id = self._trial_ids[number]
        if len(self._objectives) == 1:
            self._storage.set_trial_intermediate_value(trial_id, fidelity, values[0])
            return
        named = {o.metric: value for o, value in zip(self._objectives, values, strict=True)}
        self._storage.set_trial_user_attr(trial_id, f"epoch {fidelity}", named)

    def reject(self, number: int, violations: Mapping[str, float]) -> None:
        """Measured minus bound, by constraint; a failure ({}) violates one of its own."""
        trial = Trial(self._study, self._trial_ids[number])
        for name, violation in (violations if violations else {FAILED: 1.0}).items():
            trial.set_constraint(name, violation)

    def end(
        self,
        number: int,
        status: TrialStatus,
        values: Sequence[float] | None,
        attrs: Mapping[str, Scalar | None],
    ) -> None:
        """A completed trial is COMPLETE, a failed one FAIL; stopped and infeasible are PRUNED."""
        trial_id = self._trial_ids[number]
        for name, attr in {"status": status.value, **attrs}.items():
            if attr is not None:
                self._storage.set_trial_user_attr(trial_id, name, attr)
        state = _state(status, values)
        told = values if state is TrialState.COMPLETE else None
        self._storage.set_trial_state_values(trial_id, state, told)


def _state(status: TrialStatus, values: Sequence[float] | None) -> TrialState:
    if status is TrialStatus.FAILED:
        return TrialState.FAIL
    if status is TrialStatus.COMPLETED:
        is_known = values is not None and all(map(math.isfinite, values))
        return TrialState.COMPLETE if is_known else TrialState.FAIL
    return TrialState.PRUNED
