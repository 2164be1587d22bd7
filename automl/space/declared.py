"""What a trial's space does not name, `train` declares: a few options of the optimizer's steps."""

from __future__ import annotations

from dataclasses import dataclass

from automl.space.domains import Choice
from automl.space.limits import NONE
from automl.space.parameters import DECLARED_IN_TRAIN, TrialParameters
from automl.space.search_space import SearchSpace
from automl.space.training import TrainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """What holds for a trial; a `clip_norm` of None is no bound."""

    warmup_epochs: float
    accumulate: int
    clip_norm: float | None


def step_options(params: TrialParameters, train: TrainSettings) -> StepOptions:
    """The sampled values; where the space has none, the declared ones."""
    warmup, accumulate = params.warmup_epochs, params.accumulate
    clip_norm = train.clip_norm if params.clip_norm is None else params.clip_norm
    return StepOptions(
        warmup_epochs=train.warmup_epochs if warmup is None else warmup,
        accumulate=train.accumulate if accumulate is None else accumulate,
        clip_norm=None if clip_norm == NONE else float(clip_norm),
    )


def never_declared(space: SearchSpace, train: TrainSettings) -> tuple[str, ...]:
    """What is written under `train` although every trial has a value of its space."""
    return tuple(
        name
        for name in DECLARED_IN_TRAIN
        if name in train.model_fields_set and space.is_unconditional(name)
    )


def longest_warmup(space: SearchSpace, train: TrainSettings) -> tuple[str, float]:
    """The most epochs of warm-up that a trial may have, and the section that says so."""
    domain = space.domains.get("warmup_epochs")
    found = {} if space.is_unconditional("warmup_epochs") else {"train": train.warmup_epochs}
    if domain is not None:
        bounds = domain.options if isinstance(domain, Choice) else (domain.high,)
        found["space"] = max(float(bound) for bound in bounds)
    return max(found.items(), key=lambda item: item[1])
