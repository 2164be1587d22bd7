"""Optuna's samplers as they are used here: seeded, quiet, started by the number of trials told."""

from __future__ import annotations

import numpy as np
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, TPESampler

from automl.sampling.quiet import experiments_accepted

#: Of the samplers that breed: where each looks for the generation of a trial.
GENERATION_KEYS = {"nsga2": "NSGAIISampler:generation", "nsga3": "NSGAIIISampler:generation"}

BreedingSampler = NSGAIISampler | NSGAIIISampler


def learning_sampler(name: str, population: int, *entropy: int) -> BaseSampler:
    """A fresh sampler of Optuna's that learns from all it is told."""
    if name in GENERATION_KEYS:
        return breeding_sampler(name, population, *entropy)
    if name == "gp":
        # Loads torch, at its first proposal.
        return GPSampler(seed=_seed(entropy), n_startup_trials=0)
    with experiments_accepted():
        # Grouping keeps the joint model where conditions split the space.
        return TPESampler(
            seed=_seed(entropy),
            n_startup_trials=0,
            multivariate=True,
            group=True,
            constant_liar=True,
        )


def breeding_sampler(name: str, population: int, *entropy: int) -> BreedingSampler:
    """A fresh NSGA-II or NSGA-III.

    Both cross what all trials have in common; parameters with a condition are drawn at random.
    """
    kind = NSGAIISampler if name == "nsga2" else NSGAIIISampler
    with experiments_accepted():
        return kind(seed=_seed(entropy), population_size=population)


def _seed(entropy: tuple[int, ...]) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
