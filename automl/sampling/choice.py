"""Which sampler proposes, and from when on it knows enough. Loads no Optuna: the CLI asks, too."""

from __future__ import annotations

import math
from collections.abc import Mapping

from automl.space.search_space import SearchSpace

#: How many trials must have reached a fidelity, at least, before each sampler learns from it.
STARTUP: Mapping[str, float] = {
    "tpe": 6,
    "nsga2": 10,
    "nsga3": 10,
    "gp": 6,
    "random": math.inf,
    "qmc": math.inf,
}

#: Up to here `auto` is a Gaussian process, which learns most from few trials
#: (`benchmarks/search_efficiency.py`). A proposal takes 0.3 to 1 s on one core.
MOST_TRIALS_FOR_GP = 200

#: Up to here `auto` is TPE, which learns from few trials, too. Each of its proposals looks at all
#: that was told: with two objectives 15 ms among 100 trials, 80 ms among 1,000, 180 ms among
#: 2,000 on one core, where NSGA-II takes 15 ms among 10,000.
MOST_TRIALS_FOR_TPE = 1000

#: The smallest and largest generation of NSGA-II and NSGA-III.
_POPULATIONS = (10, 50)


def resolve_sampler(sampler: str, num_trials: int | None, space: SearchSpace) -> str:
    """The sampler that `sampler` stands for; ValueError where it is unknown.

    `auto` is, by the number of trials (None: not known) and the space:

    - qmc (spread points) where nothing can be learned: so few trials that all are spent before
      there is enough to learn from, or so many that each configuration of the space is tried;
    - gp up to MOST_TRIALS_FOR_GP trials;
    - tpe up to MOST_TRIALS_FOR_TPE;
    - nsga2 beyond, whose proposals cost the same however many trials there are.
    """
    if sampler in STARTUP:
        return sampler
    if sampler != "auto":
        raise ValueError(f"sampler must be one of auto, {', '.join(STARTUP)}, got {sampler!r}")
    if num_trials is None:
        return "tpe"
    if num_trials <= enough("gp", space, num_trials) or (
        space.size is not None and space.size <= num_trials
    ):
        return "qmc"
    if num_trials <= MOST_TRIALS_FOR_GP:
        return "gp"
    return "tpe" if num_trials <= MOST_TRIALS_FOR_TPE else "nsga2"


def enough(sampler: str, space: SearchSpace, num_trials: int | None) -> float:
    """How many trials must have reached a fidelity before `sampler` learns from it.

    One more than there are searched parameters, and never fewer than STARTUP or, where it breeds,
    than a generation. Source: Falkner et al. 2018, "BOHB", section 3.3 (N_min = d + 1).
    """
    startup = max(STARTUP[sampler], len(space.searched) + 1)
    return max(startup, population(num_trials)) if sampler in ("nsga2", "nsga3") else startup


def population(num_trials: int | None) -> int:
    """The size of a generation: room for ten of them, within the bounds of _POPULATIONS."""
    smallest, largest = _POPULATIONS
    return smallest if num_trials is None else min(largest, max(smallest, num_trials // 10))
