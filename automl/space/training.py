"""How each trial trains, as far as it is declared and not searched."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import PlainValidator, WithJsonSchema, model_validator

from automl.space.faults import wrong_value
from automl.space.gpu_share import GpuShare
from automl.space.limits import NONE
from automl.space.parameter_table import PARAMETERS
from automl.space.pydantic_faults import raise_faults
from automl.space.speed import SPEED_BEFORE, SpeedSettings
from automl.space.strict import Count, NotNegative, Settings

#: Where the workers of one trial lie; Ray's names of its placement strategies.
Placement = Literal["pack", "strict_pack", "spread", "strict_spread"]


def _clip_norm(raw: Any) -> Literal["none"] | float:
    limits = PARAMETERS["clip_norm"]
    if raw is None or raw == NONE:
        return "none"
    if not limits.accept(raw):
        raise_faults([wrong_value((), raw, limits.allowed, limits.words)])
    return float(raw)


ClipNorm = Annotated[
    Literal["none"] | float,
    PlainValidator(_clip_norm),
    WithJsonSchema(
        {
            "anyOf": [{"enum": [NONE, None]}, {"type": "number", "exclusiveMinimum": 0}],
            "description": "Largest L2 norm of all gradients together; none (or null): no bound. "
            "For trials whose space does not name it.",
        }
    ),
]


class EarlyStopSettings(Settings):
    """When a trial ends by itself; it counts as completed, with the weights of its last epoch."""

    patience: Count
    """Epochs in a row without a better mIoU on val."""
    min_delta: NotNegative = 0.0
    """By how much more than the best before an mIoU is better."""


class TrainSettings(SpeedSettings):
    """How each trial trains."""

    epochs: Count = 12
    """Epochs of a trial that is never stopped."""
    workers: Count = 1
    """Processes of a trial; 2 or more train data-parallel."""
    placement: Placement = "pack"
    """Where on a cluster those processes lie. pack: on as few nodes as there is room on; spread: on
    as many; strict_pack: on one node; strict_spread: each on another node. What cannot be had for
    a strict one is said before the search starts."""
    warmup_epochs: NotNegative = 1.0
    """Epochs of linear warm-up before the schedule; at most half of the run counts. For trials
    whose space does not name it."""
    accumulate: Count = 1
    """Batches whose gradients are averaged for one step. For trials whose space does not name
    it."""
    clip_norm: ClipNorm = 1.0
    early_stop: EarlyStopSettings | None = None
    """Whether a trial ends by itself where its mIoU on val rises no more; null: never."""
    gpu_share: GpuShare = 1.0
    precision: Literal["auto", "fp32", "bf16", "fp16", "fastest"] = "auto"
    """auto: bf16 or fp16 on CUDA, fp32 on the CPU; fastest: what a few steps of each trial's own
    network say, layout of memory included, kept with the trial."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where there is one."""
    sync_batch_norm: bool = False
    """Have batch norms take the statistics of the whole batch, over all workers, and not of each
    worker's part. One worker has the whole batch anyway: it changes nothing there."""
    inherit: bool = False
    """Start from the weights of the earlier trial whose network overlaps most, where they fit. Off
    by default: rungs would compare what was inherited with what was learnt (after 6 epochs, mean
    mIoU 0.357 instead of 0.308; trained alone for the donor's 6 epochs, too: 0.395)."""

    @model_validator(mode="after")
    def _check_share(self) -> Self:
        if self.workers > 1 and self.gpu_share != 1.0:
            allowed = "1 where train.workers is 2 or more, since NCCL takes one process a GPU"
            raise_faults([wrong_value(("gpu_share",), self.gpu_share, allowed)])
        return self


#: What may change between two runs of one study.
WITHOUT_EFFECT_ON_RESULTS = ("loader_workers", "placement", "gpu_share")
#: What trained before a setting was there: studies of that time go on.
TRAIN_BEFORE: Mapping[str, Any] = MappingProxyType(
    {**SPEED_BEFORE, "early_stop": None, "sync_batch_norm": False}
)
