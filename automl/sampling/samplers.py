"""Optuna's samplers as they are used here: seeded, quiet, started by the number of trials told."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, TPESampler

#: Of the samplers that breed: where each looks for the generation of a trial.
GENERATION_KEYS = {"nsga2": "NSGAIISampler:generation", "nsga3": "NSGAIIISampler:generation"}

BreedingSampler = NSGAIISampler | NSGAIIISampler


def hush() -> None:
    """Keep Optuna from telling of each study that it makes, and what GPSampler could do without.

    It works without greenlet, just as well if less quickly.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("optuna._gp.batched_lbfgsb").setLevel(logging.ERROR)


def learning_sampler(name: str, population: int, *entropy: int) -> BaseSampler:
    """A fresh sampler of Optuna's that learns from all it is told."""
    if name in GENERATION_KEYS:
        return breeding_sampler(name, population, *entropy)
    if name == "gp":
        # Loads torch, at its first proposal.
        return GPSampler(seed=_seed(entropy), n_startup_trials=0)
    with _experiments_accepted():
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
    with _experiments_accepted():
        return kind(seed=_seed(entropy), population_size=population)


def _seed(entropy: tuple[int, ...]) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


@contextmanager
def _experiments_accepted() -> Iterator[None]:
    """Optuna may change these two; the tests would show it."""
    with warnings.catch_warnings():
        for message in ("Argument ``group`` is an experimental", "NSGAIIISampler is experimental"):
            warnings.filterwarnings("ignore", message, ExperimentalWarning)
        yield
