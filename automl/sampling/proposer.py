"""Proposes trials from what is known of earlier ones.

A proposal is a pure function of the constructor's arguments, of what was told in which order, and
of the trial's number: asking changes nothing, samplers are seeded afresh for each proposal, and a
killed study that tells its journal again goes on exactly as it would have.

There is a study for each fidelity, and a proposal comes from the one of the highest fidelity that
enough trials have reached: what training for longer is worth is best known there, and as long as it
is not, shorter trainings say more than nothing. Source: Falkner et al. 2018, "BOHB", section 3.3.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from automl.records import Objective, Scalar, canonical_json
from automl.sampling.choice import STARTUP, enough, population, resolve_sampler
from automl.sampling.fidelity_study import FidelityStudy
from automl.sampling.generations import Generations
from automl.sampling.optuna_space import OptunaSpace
from automl.sampling.quiet import hush
from automl.sampling.samplers import GENERATION_KEYS, learning_sampler
from automl.sampling.spread import Leftovers, Params, random_point, spread_point
from automl.space.search_space import SearchSpace

_log = logging.getLogger(__name__)

#: How often a proposal that repeats an earlier trial is drawn again: by the sampler at first, at
#: random later, since a sampler that is sure of its case may never give way; gp is the surest.
_ATTEMPTS = 20
_LEARNED_ATTEMPTS = 5
_LEARNED_ATTEMPTS_OF_GP = 2


class Proposer:
    """Proposes trial 0 (the default), then the points given, then what a sampler finds.

    `fidelities` are the epochs at which trials are compared, ascending; the last is the full
    training. `bounds` are those of the constraints, by which violations are divided; missing one
    that has no bound here counts as a failure. `num_trials` is what `auto` chooses by.
    """

    def __init__(  # noqa: PLR0913 - one value a keyword, each from another part of an experiment
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        *,
        sampler: str,
        seed: int,
        points: Sequence[Mapping[str, Scalar]] = (),
        fidelities: Sequence[int],
        num_trials: int | None = None,
        bounds: Mapping[str, float] | None = None,
    ) -> None:
        if not fidelities or list(fidelities) != sorted(set(fidelities)):
            raise ValueError(f"fidelities must ascend, got {list(fidelities)}")
        known_bounds = {} if bounds is None else dict(bounds)
        if any(bound <= 0 for bound in known_bounds.values()):
            raise ValueError(f"bounds must be positive, got {known_bounds}")
        self.sampler = resolve_sampler(sampler, num_trials, space)
        self._space = space
        self._seed = seed
        self._points = _distinct(space, points)
        self._enough = enough(self.sampler, space, num_trials)
        self._population = population(num_trials)
        self._trials: dict[int, Params] = {}
        #: Those of which nothing was heard yet.
        self._pending: dict[int, Params] = {}
        self._tried: set[str] = set()
        self._leftovers = Leftovers(space)
        self._fidelities = tuple(fidelities)
        self._studies = self._make_studies(objectives, known_bounds)

    def begin(self, number: int, params: Mapping[str, Scalar]) -> None:
        """A trial was proposed, and runs from now on."""
        if number in self._trials:
            raise ValueError(f"trial {number} was begun before")
        active = self._space.restrict(params)
        self._trials[number] = self._pending[number] = active
        self._tried.add(canonical_json(active))
        if self.sampler == "tpe":
            for study in self._studies.values():
                study.begin(number, active)

    def observe(self, number: int, fidelity: int, values: Sequence[float]) -> None:
        """A trial reached a fidelity; `values` are in the order of the objectives.

        What was told first of a trial and a fidelity holds.
        """
        self._hear(number)
        if fidelity not in self._fidelities:
            raise ValueError(f"fidelity must be one of {self._fidelities}, got {fidelity}")
        if fidelity in self._studies and not self._studies[fidelity].has_ended(number):
            self._studies[fidelity].begin(number, self._trials[number])
            self._studies[fidelity].complete(number, values)

    def reject(self, number: int, violations: Mapping[str, float]) -> None:
        """A trial is infeasible (measured minus bound, by constraint), or failed ({})."""
        self._hear(number)
        for study in self._studies.values():
            if not study.has_ended(number):
                study.begin(number, self._trials[number])
                study.reject(number, violations)

    def propose(self, number: int) -> Params:
        """The active parameters of trial `number`.

        A configuration that was tried is proposed again only where a space of known size has no
        other, or a continuous one seems to have none.
        """
        if number == 0:
            return self._space.default()
        if number <= len(self._points):
            return dict(self._points[number - 1])
        params = self._draw(number, 0)
        for attempt in range(1, _ATTEMPTS):
            if canonical_json(params) not in self._tried:
                return params
            params = self._draw(number, attempt)
        left = self._leftovers.first(self._tried)
        return params if left is None else left

    def _draw(self, number: int, attempt: int) -> Params:
        learned = _LEARNED_ATTEMPTS_OF_GP if self.sampler == "gp" else _LEARNED_ATTEMPTS
        study = self._informed() if attempt < learned else None
        if study is not None:
            sampler = learning_sampler(self.sampler, self._population, self._seed, number, attempt)
            # TPE has them in its studies, NSGA has no use for them.
            pending = self._pending.values() if self.sampler == "gp" else ()
            try:
                with np.errstate(invalid="ignore", divide="ignore"):
                    return study.ask(sampler, pending)
            except (RuntimeError, ValueError) as fault:
                # Of gp, where all values are alike or a covariance cannot be factorised.
                _log.debug("%s cannot propose trial %d: %s", self.sampler, number, fault)
        if attempt == 0 and self.sampler != "random":
            return spread_point(self._space, number, seed=self._seed)
        return random_point(self._space, np.random.default_rng((self._seed, number, attempt)))

    def _informed(self) -> FidelityStudy | None:
        """The study of the highest fidelity that enough trials have reached.

        Where most trials end without reaching any, there is still to learn what to avoid.
        """
        for study in reversed(self._studies.values()):
            if study.num_observed >= self._enough:
                return study
        lowest = next(iter(self._studies.values()), None)
        return lowest if lowest is not None and lowest.num_ended >= self._enough else None

    def _hear(self, number: int) -> None:
        if number not in self._trials:
            raise ValueError(f"trial {number} was not begun")
        self._pending.pop(number, None)

    def _make_studies(
        self, objectives: Sequence[Objective], bounds: Mapping[str, float]
    ) -> dict[int, FidelityStudy]:
        """One for each fidelity, lowest first; none for samplers that never learn."""
        if STARTUP[self.sampler] == float("inf"):
            return {}
        hush()
        breeds = self.sampler in GENERATION_KEYS
        return {
            fidelity: FidelityStudy(
                OptunaSpace(self._space, flat=self.sampler == "gp"),
                objectives,
                bounds,
                Generations(self.sampler, self._population, self._seed, fidelity)
                if breeds
                else None,
            )
            for fidelity in self._fidelities
        }


def _distinct(space: SearchSpace, points: Sequence[Mapping[str, Scalar]]) -> tuple[Params, ...]:
    """The points as configurations, without those that come up before."""
    found = {canonical_json(space.default()): space.default()}
    for point in points:
        params = space.complete(point)
        found.setdefault(canonical_json(params), params)
    return tuple(found.values())[1:]
