"""What Optuna says, and nobody who runs a search can act on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.exceptions import ExperimentalWarning

#: What is used here although Optuna may change it; the tests would show it.
_EXPERIMENTS = (
    "Argument ``group`` is an experimental",
    "NSGAIIISampler is experimental",
    "optuna.study.study.Study.set_metric_names is experimental",
)


def hush() -> None:
    """Keep Optuna from telling of each study that it makes, and what GPSampler could do without.

    It works without greenlet, just as well if less quickly.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("optuna._gp.batched_lbfgsb").setLevel(logging.ERROR)


@contextmanager
def experiments_accepted() -> Iterator[None]:
    """No warning of the experiments listed here; of all others as ever."""
    with warnings.catch_warnings():
        for message in _EXPERIMENTS:
            warnings.filterwarnings("ignore", message, ExperimentalWarning)
        yield
