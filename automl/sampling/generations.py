"""The generations of NSGA-II and NSGA-III, made of trials in the order in which they end.

Optuna gives a trial its generation when it is proposed, and leaves out of the parents whatever ends
after its generation is full; with promotion, that is most of what trains long. It also chooses the
parents when the next proposal is asked for, and looks through all trials for that. Here a full
generation leaves its parents behind when its last trial ends, and only they are kept: what is
proposed depends on what was told alone, and costs the same however many trials there were.
"""

from __future__ import annotations

from optuna import Study
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from automl.sampling.samplers import GENERATION_KEYS, BreedingSampler, breeding_sampler


class Generations:
    """Generation 0 of a study are the parents, and generation 1 their children, until it is full.

    At first there are no parents, and generation 0 is what a start of spread points found.
    """

    def __init__(self, sampler: str, population: int, *entropy: int) -> None:
        self._key = GENERATION_KEYS[sampler]
        self._sampler = sampler
        self._population = population
        self._entropy = entropy
        self._num_ended = 0

    def enter(self, storage: BaseStorage, trial_id: int) -> None:
        """Put a trial that is about to end into the youngest generation."""
        storage.set_trial_system_attr(trial_id, self._key, self._youngest)
        self._num_ended += 1

    def heirs(self, study: Study) -> list[FrozenTrial]:
        """What a new study starts with, once a generation is full; [] while it is not."""
        turn, more = divmod(self._num_ended, self._population)
        if self._num_ended == 0 or more > 0:
            return []
        # The children of generation 0 at first, of generation 1 ever after.
        parents = self._chooser().select_parent(study, min(2, turn))
        return [self._parent(trial) for trial in parents]

    def settle(self, study: Study) -> None:
        """Have Optuna note the parents in a study that starts with them.

        It would at the first proposal, and use them in another order from the second one on.
        """
        self._chooser().get_parent_population(study, 1)

    def _chooser(self) -> BreedingSampler:
        return breeding_sampler(self._sampler, self._population, *self._entropy, self._num_ended)

    @property
    def _youngest(self) -> int:
        return min(1, self._num_ended // self._population)

    def _parent(self, trial: FrozenTrial) -> FrozenTrial:
        return create_trial(
            state=TrialState.COMPLETE,
            values=trial.values,
            params=trial.params,
            distributions=trial.distributions,
            constraints=trial.constraints,
            system_attrs={self._key: 0},
        )
