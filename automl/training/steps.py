"""One epoch of optimizer steps.

Shapes: N batch, K classes, H and W pixels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from automl.data.batching import Batch
from automl.errors import TrialError
from automl.training.evaluation import normalise
from automl.training.precision import Precision
from automl.training.ranks import sum_over_ranks, world_size
from automl.training.schedules import lr_factor
from automl.training.settings import FitSettings

T = TypeVar("T")

#: How many steps may pass before a device's losses are read: each reading waits for the device.
LOSSES_READ_EVERY = 32


class StepLoss(Protocol):
    """What a step minimises, as a scalar whose gradients' mean over the ranks is wanted.

    One that is an `nn.Module` moves to the model's device, and its own parameters are trained and
    checkpointed with the model's.
    """

    def __call__(self, model: nn.Module, images_nchw: Tensor, target_nhw: Tensor) -> Tensor:
        """The loss of `model` on normalised images and their labels."""


class SupervisedLoss(nn.Module):
    """A loss of logits and labels, such as `CombinedLoss`, as a `StepLoss`."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, model: nn.Module, images_nchw: Tensor, target_nhw: Tensor) -> Tensor:
        """The loss of the model's logits, a scalar."""
        loss: Tensor = self.loss(model(images_nchw), target_nhw)
        return loss


class TrainingStep(nn.Module):
    """A model and its loss as one module: what DDP wraps, whatever the loss calls on the model."""

    def __init__(self, model: nn.Module, step_loss: StepLoss) -> None:
        super().__init__()
        self.model = model
        self.step_loss = step_loss

    def forward(self, images_nchw: Tensor, target_nhw: Tensor) -> Tensor:
        """The loss, a scalar."""
        return self.step_loss(self.model, images_nchw, target_nhw)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSeconds:
    """Wall time of one epoch's training: all of it, and the part spent in optimizer steps."""

    train: float
    step: float


@dataclass(slots=True, kw_only=True)
class Stepper:
    """All that an optimizer step touches. `steps_per_epoch` counts optimizer steps."""

    step_module: nn.Module
    optimizer: Optimizer
    scaler: GradScaler
    precision: Precision
    settings: FitSettings
    device: torch.device
    steps_per_epoch: int

    def run_epoch(self, batches: Iterable[Batch], epoch: int) -> tuple[float, EpochSeconds]:
        """Train epoch `epoch`, counted from 0; returns its mean loss over steps, and times.

        Raises TrialError, on every rank, for a loss that is not finite.
        """
        started = time.perf_counter()
        step_seconds = 0.0
        ledger = _LossLedger(self)
        self.step_module.train()
        for index, group in enumerate(_groups(batches, self.settings.accumulate)):
            step_started = time.perf_counter()
            step = epoch * self.steps_per_epoch + index
            self._set_learning_rate(step)
            ledger.add(step, self._optimize(group))
            step_seconds += time.perf_counter() - step_started
        step_started = time.perf_counter()
        mean_loss = ledger.mean()
        ended = time.perf_counter()
        step_seconds += ended - step_started
        return mean_loss, EpochSeconds(train=ended - started, step=step_seconds)

    def learning_rate(self, step: int) -> float:
        """The learning rate at an optimizer step, counted from 0 over the whole run."""
        total = self.settings.epochs * self.steps_per_epoch
        # A warm-up never takes more than half of a run.
        warmup = min(round(self.settings.warmup_epochs * self.steps_per_epoch), total // 2)
        return self.settings.learning_rate * lr_factor(step, total, warmup)

    def _set_learning_rate(self, step: int) -> None:
        learning_rate = self.learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

    def _optimize(self, group: list[Batch]) -> Tensor:
        """One optimizer step on the mean loss of a group of batches; returns that mean."""
        mean_loss = torch.zeros((), device=self.device)
        for position, batch in enumerate(group, start=1):
            with self._reducing_gradients_only(last=position == len(group)):
                loss = self._forward(batch) / len(group)
                torch.autograd.backward(self.scaler.scale(loss))
            mean_loss += loss.detach()
        if self.settings.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            clip_grad_norm_(self.step_module.parameters(), self.settings.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return mean_loss

    def _forward(self, batch: Batch) -> Tensor:
        images_nhwc = batch.images_nhwc.to(self.device, non_blocking=True)
        target_nhw = batch.masks_nhw.to(self.device, non_blocking=True)
        images_nchw = normalise(images_nhwc, self.settings.normalisation)
        with self.precision.autocast():
            loss: Tensor = self.step_module(images_nchw, target_nhw)
        return loss

    def _reducing_gradients_only(self, *, last: bool) -> AbstractContextManager[None]:
        """Have DDP average gradients with the last batch of a group alone."""
        if last or not isinstance(self.step_module, DistributedDataParallel):
            return nullcontext()
        held_back: AbstractContextManager[None] = self.step_module.no_sync()
        return held_back


class _LossLedger:
    """The losses of an epoch, read from the device only now and then."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        alone_on_cpu = stepper.device.type == "cpu" and world_size() == 1
        self._read_every = 1 if alone_on_cpu else LOSSES_READ_EVERY
        self._unread: list[tuple[int, Tensor]] = []
        self._read: list[float] = []

    def add(self, step: int, loss: Tensor) -> None:
        self._unread.append((step, loss))
        if len(self._unread) >= self._read_every:
            self._read_all()

    def mean(self) -> float:
        self._read_all()
        return math.fsum(self._read) / len(self._read)

    def _read_all(self) -> None:
        if not self._unread:
            return
        losses = torch.stack([loss for _, loss in self._unread])
        values = (sum_over_ranks(losses) / world_size()).tolist()
        for (step, _), value in zip(self._unread, values, strict=True):
            if not math.isfinite(value):
                raise TrialError(self._diagnosis(step, value))
        self._read.extend(values)
        self._unread.clear()

    def _diagnosis(self, step: int, value: float) -> str:
        stepper = self._stepper
        total = stepper.settings.epochs * stepper.steps_per_epoch
        return (
            f"the loss is {value} at step {step + 1} of {total} "
            f"(epoch {step // stepper.steps_per_epoch + 1}), learning rate "
            f"{stepper.learning_rate(step):.3g} of a peak of "
            f"{stepper.settings.learning_rate:.3g}, precision {stepper.precision.name}; "
            "it must be finite: try a lower learning rate"
        )


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
