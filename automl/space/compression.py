"""The declaration of what happens to the best trials after the search."""

from __future__ import annotations

from pydantic import Field

from automl.space.strict import Count, NotNegative, Positive, Settings, Share


class Student(Settings):
    """A smaller model to distil from a winner."""

    decoder_width_factor: Share = 1.0
    """The teacher's decoder width times this, rounded to a multiple of 8."""
    pruning_ratio: float = Field(default=0.0, ge=0, le=0.9)
    """Share of channels to remove, on top of the winner's own."""


class CompressSettings(Settings):
    """What happens to the best trials: distillation into students, then INT8."""

    winners: Count = 2
    """The best trials that become teachers and candidates."""
    students: tuple[Student, ...] = (Student(pruning_ratio=0.25),)
    """The students of each winner; [] for none."""
    epochs: Count = 6
    """Epochs of a distillation."""
    learning_rate: Positive | None = None
    """Peak learning rate of a distillation; null: the teacher's."""
    temperature: Positive = 2.0
    """Temperature of the per-pixel logit distillation."""
    logit_weight: NotNegative = 1.0
    """Weight of the logit distillation beside the task's loss."""
    channel_weight: NotNegative = 1.0
    """Weight of the channel-wise feature distillation beside the task's loss."""
    int8: bool = True
    """Whether to quantize every candidate to INT8, too."""
    calibration_images: Count = 64
    """Training images that calibrate the INT8 ranges."""
