"""The losses of an epoch: read from the device now and then, and refused where not finite."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.amp import GradScaler

from automl.errors import TrialError
from automl.training.precision import Precision
from automl.training.ranks import sum_over_ranks, world_size
from automl.training.schedules import Timetable
from automl.training.settings import FitSettings

#: Below it, an fp16 loss cannot be scaled so that its gradients are finite: 32 halvings of the
#: scaler's 2^16.
SMALLEST_SCALE = 2.0**-16

#: How many steps may pass before a device's losses are read: each reading waits for the device.
LOSSES_READ_EVERY = 32


class Stepping(Protocol):
    """What a ledger asks of a `Stepper`."""

    device: torch.device
    scaler: GradScaler
    timetable: Timetable
    settings: FitSettings
    precision: Precision

    def learning_rate(self, step: int) -> float:
        """The learning rate at a step."""


class LossLedger:
    """The losses and gradients of an epoch, read from the device only now and then."""

    def __init__(self, stepper: Stepping) -> None:
        self._stepper = stepper
        alone_on_cpu = stepper.device.type == "cpu" and world_size() == 1
        self._read_every = 1 if alone_on_cpu else LOSSES_READ_EVERY
        self._unread: list[tuple[int, Tensor]] = []
        self._read: list[float] = []

    def add(self, step: int, loss: Tensor, gradient_norm: Tensor) -> None:
        """Take in what a step gave."""
        self._unread.append((step, torch.stack([loss, gradient_norm])))
        if len(self._unread) >= self._read_every:
            self._read_all()

    def mean(self) -> float:
        """The mean loss over all steps; raises TrialError for what is not finite."""
        self._read_all()
        return math.fsum(self._read) / len(self._read)

    def _read_all(self) -> None:
        if not self._unread:
            return
        pairs = torch.stack([pair for _, pair in self._unread])
        values = (sum_over_ranks(pairs) / world_size()).tolist()
        for (step, _), (loss, gradient_norm) in zip(self._unread, values, strict=True):
            if not math.isfinite(loss):
                raise TrialError(self._diagnosis(step, f"the loss is {loss}"))
            if not math.isfinite(gradient_norm):
                raise TrialError(self._diagnosis(step, f"the gradient's norm is {gradient_norm}"))
        scaler = self._stepper.scaler
        if scaler.is_enabled() and scaler.get_scale() < SMALLEST_SCALE:
            step, _ = self._unread[-1]
            raise TrialError(self._diagnosis(step, "no scale of the loss is left for the gradient"))
        self._read.extend(loss for loss, _ in values)
        self._unread.clear()

    def _diagnosis(self, step: int, finding: str) -> str:
        stepper = self._stepper
        timetable = stepper.timetable
        return (
            f"{finding} at step {step + 1} of {timetable.total} "
            f"(epoch {timetable.epoch_of(step) + 1}), learning rate "
            f"{stepper.learning_rate(step):.3g} of a peak of "
            f"{stepper.settings.learning_rate:.3g}, precision {stepper.precision.name}; "
            "it must be finite: try a lower learning rate"
        )
