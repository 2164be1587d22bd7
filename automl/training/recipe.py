"""How the weights are moved, beyond optimizer and peak rate; the defaults change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStop:
    """End a run after `patience` epochs in a row without a better score.

    Better is by more than `min_delta` than the best before. Source: Prechelt 1998, "Early Stopping
    - But When?", the class of criteria UP, with the best score so far instead of the last strip.
    """

    patience: int
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        if self.patience < 1 or not self.min_delta >= 0:
            raise ValueError(
                f"patience must be at least 1 and min_delta at least 0, got {self.patience} and "
                f"{self.min_delta}"
            )

    def best_epoch(self, scores: Sequence[float]) -> int:
        """The epoch, from 1, whose score no later one beat by more than `min_delta`."""
        best = 1
        for epoch, score in enumerate(scores, start=1):
            if score > scores[best - 1] + self.min_delta:
                best = epoch
        return best

    def end(self, scores: Sequence[float], epochs: int) -> str | None:
        """How a run of `epochs` epochs with these scores has ended before the last; else None."""
        if len(scores) >= epochs or not self.says_stop(scores):
            return None
        best = self.best_epoch(scores)
        return f"stopped early at epoch {len(scores)} of {epochs}, best {best}"

    def says_stop(self, scores: Sequence[float]) -> bool:
        """Whether a run with these scores so far, one an epoch, ends."""
        return len(scores) - self.best_epoch(scores) >= self.patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The options of an optimisation.

    `schedule` names a shape of `training/shapes.py`. The encoder's rate is `encoder_lr_factor`
    times the decoder's, and that of each of its stages `layer_decay` times that of the next deeper
    one (`training/layers.py`). For `freeze_epochs` epochs the encoder stays as it is, then its
    stages are let go one an epoch, the deepest first. `ema_decay` is that of the average of the
    weights, 0 for none; by `ema_distillation` it teaches the weights in the second half of the run,
    beside the loss (`training/self_distillation.py`). `sync_batch_norm` has batch norms take the
    statistics of all ranks' parts of a batch (`training/synchronised.py`). Raises ValueError for a
    value outside its limits.
    """

    schedule: str = "cosine"
    encoder_lr_factor: float = 1.0
    layer_decay: float = 1.0
    freeze_epochs: int = 0
    ema_decay: float = 0.0
    ema_distillation: float = 0.0
    early_stop: EarlyStop | None = None
    sync_batch_norm: bool = False

    def __post_init__(self) -> None:
        for name in ("encoder_lr_factor", "layer_decay"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be at least 0 and below 1, got {self.ema_decay}")
        if not 0 <= self.ema_distillation <= 1 or (self.ema_distillation and not self.ema_decay):
            raise ValueError(
                "ema_distillation must be 0 to 1, and 0 without ema_decay, "
                f"got {self.ema_distillation} with ema_decay {self.ema_decay}"
            )
        if self.freeze_epochs < 0:
            raise ValueError(f"freeze_epochs must be at least 0, got {self.freeze_epochs}")


#: What trains where nothing else is asked for.
PLAIN = Recipe()
