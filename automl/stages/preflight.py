"""What can be known to fail is told before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from automl.errors import SpaceError
from automl.models.build import check_spec
from automl.records import Scalar
from automl.space.domains import Choice
from automl.space.experiment import Experiment
from automl.space.parameters import DEFAULTS, parameters_from

_MODEL_NAMES = ("encoder", "decoder", "pretrained")


def check_models(experiment: Experiment) -> None:
    """Check each encoder with each decoder and each source of weights.

    Raises:
        SpaceError: naming every pair that cannot be built, and every batch that is too small.
    """
    options = [_options(experiment, name) for name in _MODEL_NAMES]
    faults: dict[str, None] = {}
    for values in product(*options):
        named = dict(zip(_MODEL_NAMES, values, strict=True))
        if _possible(experiment, named):
            faults |= dict.fromkeys(check_spec(parameters_from(named).model_spec()))
    workers = experiment.train.workers
    smallest = min(int(value) for value in _bounds(experiment, "batch_size"))
    if smallest < workers:
        faults[f"batch_size: given {smallest}; allowed: >= {workers}, one image a worker"] = None
    if faults:
        raise SpaceError("\n".join(["the space holds what cannot be built:", *faults]))


def _options(experiment: Experiment, name: str) -> tuple[Scalar, ...]:
    domain = experiment.space.domains.get(name)
    return domain.options if isinstance(domain, Choice) else (DEFAULTS[name],)


def _possible(experiment: Experiment, named: Mapping[str, Scalar]) -> bool:
    """Whether the conditions of the space let these values meet."""
    space = experiment.space
    return all(space.is_active(name, named) for name in named if name in space.domains)


def _bounds(experiment: Experiment, name: str) -> tuple[Scalar, ...]:
    domain = experiment.space.domains.get(name)
    if domain is None:
        return (DEFAULTS[name],)
    return domain.options if isinstance(domain, Choice) else (domain.low,)
