"""A search space in Optuna's terms."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from automl.records import Scalar
from automl.space.domains import Choice, Domain, IntRange
from automl.space.search_space import SearchSpace


class OptunaSpace:
    """The searched parameters as Optuna's distributions; fixed ones are left out.

    A `flat` one has every parameter in every trial, for samplers that know no conditions: one that
    does not exist in a trial is told as its default, and what is found for it is left out.
    """

    def __init__(self, space: SearchSpace, *, flat: bool = False) -> None:
        self._space = space
        self._flat = flat
        self._distributions = {name: _distribution(space.domains[name]) for name in space.searched}

    def suggest(self, trial: Trial) -> dict[str, Scalar]:
        """The configuration that the study's sampler finds for `trial`."""
        drawn: dict[str, Scalar] = {}
        if self._flat:
            drawn = {name: self._find(trial, name) for name in self._distributions}

        def choose(name: str, domain: Domain) -> Scalar:
            if name not in self._distributions:
                return domain.default_value
            return drawn[name] if name in drawn else self._find(trial, name)

        return self._space.assign(choose)

    def running(self, params: Mapping[str, Scalar]) -> FrozenTrial:
        """A trial of Optuna's that runs with `params`, ready to be added to a study."""
        given = self._space.restrict(params)
        known = {
            name: given.get(name, self._space.domains[name].default_value)
            for name in self._distributions
            if self._flat or name in given
        }
        return create_trial(
            state=TrialState.RUNNING,
            params=known,
            distributions={name: self._distributions[name] for name in known},
        )

    def _find(self, trial: Trial, name: str) -> Scalar:
        return _suggest(trial, name, self._space.domains[name])


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if isinstance(domain, IntRange):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def _suggest(trial: Trial, name: str, domain: Domain) -> Scalar:
    if isinstance(domain, Choice):
        option = trial.suggest_categorical(name, domain.options)
        assert option is not None, "no domain has None among its options"
        return option
    if isinstance(domain, IntRange):
        return trial.suggest_int(name, domain.low, domain.high, log=domain.log, step=domain.step)
    return trial.suggest_float(name, domain.low, domain.high, log=domain.log)
