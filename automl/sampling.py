"""What to try next. The only importer of Optuna.

A proposal is a pure function of (space, objectives, sampler, seed, points, number, history): no
state lives between two calls, so a killed study that reads its history back goes on exactly as
it would have. Optuna's study is rebuilt for each proposal, and its sampler seeded by the number.

What the samplers are told (measured: Optuna ignores failed trials, and comes back for more):

- completed: the values, and how far each constraint is missed;
- stopped: PRUNED, since the values of a shorter training would slander slow learners; TPE ranks
  it behind every completed one, NSGA-II does not breed from it;
- infeasible and failed: the worst values seen, and a violated constraint;
- running: RUNNING, which TPE counts as bad so that parallel proposals differ (constant liar).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from automl.records import Objective, Scalar, TrialStatus
from automl.space.domains import Choice, Domain, IntRange
from automl.space.search_space import SearchSpace

#: A generation of NSGA-II.
POPULATION = 10

#: How many trials must have ended before each sampler learns from them; spread points until then.
STARTUP: Mapping[str, float] = {"tpe": 6, "nsga2": POPULATION, "random": math.inf, "qmc": math.inf}

#: How often a proposal that repeats an earlier trial is drawn again: by the sampler at first,
#: at random later, since a sampler that is sure of its case may never give way.
_ATTEMPTS = 60
_LEARNED_ATTEMPTS = 5

#: Where NSGAIISampler looks for the generation of a trial.
_GENERATION = "NSGAIISampler:generation"

_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53)

Params = dict[str, Scalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is known of a trial.

    `values` are in the order and direction of the objectives; `status` is None while it runs;
    `violations` are measured value minus bound, by constraint.
    """

    number: int
    params: Mapping[str, Scalar]
    values: tuple[float, ...] | None = None
    status: TrialStatus | None = None
    violations: Mapping[str, float] = field(default_factory=dict)


class Proposer:
    """Proposes trial 0 (the default), then the points given, then what a sampler finds."""

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        *,
        sampler: str,
        seed: int,
        points: Sequence[Mapping[str, Scalar]] = (),
    ) -> None:
        if sampler not in STARTUP:
            raise ValueError(f"sampler must be one of {', '.join(STARTUP)}, got {sampler!r}")
        self._space = space
        self._objectives = tuple(objectives)
        self._sampler = sampler
        self._seed = seed
        self._points = tuple(points)

    def propose(self, number: int, history: Sequence[Outcome]) -> Params:
        """The active parameters of trial `number`, given all other trials, in any order.

        A configuration that was tried before is proposed again only where the space seems to
        have no other.
        """
        if number == 0:
            return self._space.default()
        if number <= len(self._points):
            return self._space.complete(self._points[number - 1])
        past = sorted((o for o in history if o.number != number), key=lambda o: o.number)
        tried = [self._space.restrict(outcome.params) for outcome in past]
        params = self._draw(number, 0, past)
        for attempt in range(1, _ATTEMPTS):
            if params not in tried:
                break
            params = self._draw(number, attempt, past)
        return params

    def _draw(self, number: int, attempt: int, past: Sequence[Outcome]) -> Params:
        ended = sum(outcome.status is not None for outcome in past)
        if ended >= STARTUP[self._sampler] and attempt < _LEARNED_ATTEMPTS:
            return self._ask(number, attempt, past)
        names = [name for name, domain in self._space.domains.items() if domain.size != 1]
        if self._sampler == "random" or attempt > 0:
            rng = np.random.default_rng((self._seed, number, attempt))
            units = dict(zip(names, rng.random(len(names)).tolist(), strict=True))
        else:
            units = {name: halton(number, i, seed=self._seed) for i, name in enumerate(names)}
        return self._space.assign(lambda name, domain: domain.at(units.get(name, 0.0)))

    def _ask(self, number: int, attempt: int, past: Sequence[Outcome]) -> Params:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        entropy = np.random.SeedSequence((self._seed, number, attempt))
        study = optuna.create_study(
            directions=[objective.direction for objective in self._objectives],
            sampler=_sampler(self._sampler, int(entropy.generate_state(1)[0])),
        )
        for told in self._told(past):
            study.add_trial(told)
        trial = study.ask()

        return self._space.assign(lambda name, domain: _suggest(trial, name, domain))

    def _told(self, past: Sequence[Outcome]) -> list[FrozenTrial]:
        """The history as Optuna's trials."""
        scales = _scales(past)
        worst = self._worst(past)
        told: list[FrozenTrial] = []
        bred = 0
        for outcome in past:
            params = self._sampled(outcome)
            state = _state(outcome)
            told.append(
                create_trial(
                    state=state,
                    values=_values(outcome, worst) if state is TrialState.COMPLETE else None,
                    params=params,
                    distributions={n: _distribution(self._space.domains[n]) for n in params},
                    system_attrs={_GENERATION: bred // POPULATION},
                    constraints=_constraints(outcome, scales),
                )
            )
            bred += state is TrialState.COMPLETE
        return told

    def _sampled(self, outcome: Outcome) -> Params:
        params = self._space.restrict(outcome.params)
        return {n: value for n, value in params.items() if self._space.domains[n].size != 1}

    def _worst(self, past: Sequence[Outcome]) -> tuple[float, ...]:
        known = [o.values for o in past if o.values is not None and _is_success(o)]
        if not known:
            return (0.0,) * len(self._objectives)
        return tuple(
            min(column) if objective.direction == "maximize" else max(column)
            for objective, column in zip(self._objectives, zip(*known, strict=True), strict=True)
        )


def halton(index: int, dimension: int, *, seed: int) -> float:
    """Coordinate `dimension` of point `index` of a randomised Halton sequence, in [0, 1).

    Each digit is permuted at random, by level and dimension, which keeps the sequence evenly
    spread and breaks the correlation between high dimensions. Source: Owen 2017, "A randomized
    Halton algorithm in R".
    """
    base = _PRIMES[dimension]
    rng = np.random.default_rng((seed, dimension))
    unit, weight = 0.0, 1.0 / base
    while weight > 2.0**-53:
        index, digit = divmod(index, base)
        unit += weight * int(rng.permutation(base)[digit])
        weight /= base
    return min(unit, 1.0 - 2.0**-53)


def _sampler(name: str, seed: int) -> BaseSampler:
    if name == "tpe":
        # Univariate, since conditions make the joint space change from trial to trial.
        return TPESampler(seed=seed, n_startup_trials=0, multivariate=False)
    return NSGAIISampler(seed=seed, population_size=POPULATION)


def _suggest(trial: Trial, name: str, domain: Domain) -> Scalar:
    if domain.size == 1:
        return domain.default_value
    if isinstance(domain, Choice):
        option = trial.suggest_categorical(name, domain.options)
        assert option is not None, "no domain has None among its options"
        return option
    if isinstance(domain, IntRange):
        return trial.suggest_int(name, domain.low, domain.high, log=domain.log, step=domain.step)
    return trial.suggest_float(name, domain.low, domain.high, log=domain.log)


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if isinstance(domain, IntRange):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def _is_success(outcome: Outcome) -> bool:
    """Whether a trial completed with values that can be compared."""
    return (
        outcome.status is TrialStatus.COMPLETED
        and outcome.values is not None
        and all(map(math.isfinite, outcome.values))
    )


def _state(outcome: Outcome) -> TrialState:
    if outcome.status is None:
        return TrialState.RUNNING
    if outcome.status is TrialStatus.STOPPED:
        return TrialState.PRUNED
    return TrialState.COMPLETE


def _values(outcome: Outcome, worst: tuple[float, ...]) -> tuple[float, ...]:
    known = outcome.values if _is_success(outcome) else None
    return worst if known is None else known


def _scales(past: Sequence[Outcome]) -> dict[str, float]:
    """The largest violation of each constraint so far: milliseconds and megabytes add up."""
    scales: dict[str, float] = {}
    for outcome in past:
        for name, violation in outcome.violations.items():
            if math.isfinite(violation):
                scales[name] = max(scales.get(name, 0.0), violation)
    return scales


def _constraints(outcome: Outcome, scales: Mapping[str, float]) -> dict[str, float]:
    """By constraint, and one for failing: at most 0 is fine, at most 1 is the worst."""
    shares = {
        name: violation / scales[name] if scales.get(name, 0.0) > 0 else min(violation, 0.0)
        for name, violation in outcome.violations.items()
        if math.isfinite(violation)
    }
    return {**shares, "failed": 1.0 if _is_unexplained(outcome) else 0.0}


def _is_unexplained(outcome: Outcome) -> bool:
    """Whether a trial ended without values and without a violated constraint to show for it."""
    if outcome.status is TrialStatus.INFEASIBLE:
        return not any(violation > 0 for violation in outcome.violations.values())
    if outcome.status is TrialStatus.COMPLETED:
        return not _is_success(outcome)
    return outcome.status is TrialStatus.FAILED
