"""What a run and an evaluation need to know besides model, data and loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from automl.fidelity import FULL, Fidelity
from automl.records import Normalisation
from automl.space.policies.policy import Policy
from automl.training.manner import AS_USUAL, Manner
from automl.training.recipe import PLAIN, Recipe
from automl.training.shapes import SHAPES

_Check = tuple[Callable[[float], bool], str]

_AT_LEAST_ONE: _Check = (lambda value: value >= 1, "at least 1")
_POSITIVE: _Check = (lambda value: 0 < value < math.inf, "positive and finite")
_NOT_NEGATIVE: _Check = (lambda value: 0 <= value < math.inf, "at least 0 and finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How to train; the defaults are those of an experiment.

    `batch_size` counts the samples of one forward pass over all ranks together, and `accumulate`
    such batches make one optimizer step. `micro_batches` is the number of pieces that each batch
    is worked through in, to save memory: the steps, the order of the samples and the schedule stay
    those of the whole batch (`training/pieces.py` says what differs). With `views` above 0 an image
    is augmented in so many ways alone (`data/batching.py`). `warmup_epochs` may be a
    fraction and is cut to half of the run. `clip_norm` bounds the L2 norm of all gradients
    together, None leaves them. `seed` fixes the order of samples, their augmentation and dropout.
    `fidelity` says which epochs train on less than all data at full size, `recipe` holds further
    options of the optimisation, and `manner` is for speed. Raises ValueError for a value outside
    its limits.
    """

    epochs: int
    normalisation: Normalisation
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    optimizer: str = "adamw"
    warmup_epochs: float = 1.0
    accumulate: int = 1
    clip_norm: float | None = 1.0
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0
    augmentation: str | Policy = "light"
    cutmix: float = 0.0
    classmix: float = 0.0
    copy_paste: float = 0.0
    mixup: float = 0.0
    oversample: str = "none"
    views: int = 0
    loader_workers: int = 0
    micro_batches: int = 1
    fidelity: Fidelity = FULL
    manner: Manner = AS_USUAL
    recipe: Recipe = PLAIN

    def __post_init__(self) -> None:
        _check("epochs", self.epochs, _AT_LEAST_ONE)
        _check("batch_size", self.batch_size, _AT_LEAST_ONE)
        _check("accumulate", self.accumulate, _AT_LEAST_ONE)
        _check("learning_rate", self.learning_rate, _POSITIVE)
        _check("weight_decay", self.weight_decay, _NOT_NEGATIVE)
        _check("warmup_epochs", self.warmup_epochs, _NOT_NEGATIVE)
        _check("loader_workers", self.loader_workers, _NOT_NEGATIVE)
        _check("micro_batches", self.micro_batches, _AT_LEAST_ONE)
        if self.clip_norm is not None:
            _check("clip_norm", self.clip_norm, _POSITIVE)
        ends = self.fidelity.last_epochs
        if ends and ends[-1] != self.epochs:
            raise ValueError(f"fidelity must end with epoch {self.epochs}, got ends {ends}")
        if self.views > 0 and self.fidelity != FULL:
            raise ValueError(f"views need all data at full size in every epoch, got {self.views}")
        if self.recipe.schedule not in SHAPES:
            raise ValueError(
                f"schedule must be one of {', '.join(SHAPES)}, got {self.recipe.schedule!r}"
            )

    def for_evaluation(self, *, world_size: int) -> EvaluationSettings:
        """The part that evaluating shares with training; its batches are as small as the pieces."""
        return EvaluationSettings(
            normalisation=self.normalisation,
            batch_size=max(world_size, self.batch_size // self.micro_batches),
            precision=self.precision,
            device=self.device,
            loader_workers=self.loader_workers,
            layout=self.manner.layout,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """How to score a split; `batch_size` counts over all ranks. Raises ValueError as above."""

    normalisation: Normalisation
    batch_size: int = 8
    precision: str = "auto"
    device: str = "auto"
    loader_workers: int = 0
    layout: str = "channels_last"

    def __post_init__(self) -> None:
        _check("batch_size", self.batch_size, _AT_LEAST_ONE)
        _check("loader_workers", self.loader_workers, _NOT_NEGATIVE)


def _check(name: str, value: float, check: _Check) -> None:
    holds, rule = check
    if not holds(value):
        raise ValueError(f"{name} must be {rule}, got {value}")
