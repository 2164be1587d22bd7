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
from automl.training.pieces import shares_of, split_batch, targets_of
from automl.training.precision import Precision
from automl.training.ranks import sum_over_ranks, world_size
from automl.training.remembering import Remembering
from automl.training.resolution import scaled_batch
from automl.training.schedules import Timetable, lr_factor
from automl.training.settings import FitSettings
from automl.training.statistics import renew_statistics

T = TypeVar("T")

#: Below it, an fp16 loss cannot be scaled so that its gradients are finite: 32 halvings of the
#: scaler's 2^16.
SMALLEST_SCALE = 2.0**-16

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

    def forward(self, images_nchw: Tensor, *targets_nhw: Tensor) -> Tensor:
        """The loss, a scalar; of two targets that by each, (2,), of one pass of the model."""
        if len(targets_nhw) == 1:
            return self.step_loss(self.model, images_nchw, targets_nhw[0])
        model = Remembering(self.model)
        return torch.stack([self.step_loss(model, images_nchw, target) for target in targets_nhw])


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSeconds:
    """Wall time of one epoch's training: all of it, and the part spent in optimizer steps."""

    train: float
    step: float


@dataclass(slots=True, kw_only=True)
class Stepper:
    """All that an optimizer step touches.

    `timetable` holds the optimizer steps of the run; `pieces` counts those of each batch: no more
    than the images that the rank with the fewest has of it.
    """

    step_module: nn.Module
    optimizer: Optimizer
    scaler: GradScaler
    precision: Precision
    settings: FitSettings
    device: torch.device
    timetable: Timetable
    pieces: int = 1

    def run_epoch(self, batches: Iterable[Batch], epoch: int) -> tuple[float, EpochSeconds]:
        """Train epoch `epoch`, counted from 0; returns its mean loss over steps, and times.

        Raises TrialError, on every rank, for a loss or a gradient that is not finite. In fp16 the
        scaler skips steps whose gradients overflow; that is a fault only once no scale is left.
        """
        started = time.perf_counter()
        step_seconds = 0.0
        ledger = _LossLedger(self)
        first_step = self.timetable.first_step(epoch)
        self.step_module.train()
        for index, group in enumerate(_groups(batches, self.settings.accumulate)):
            step_started = time.perf_counter()
            step = first_step + index
            self.set_learning_rate(step)
            ledger.add(step, *self._optimize([self.scaled(batch, epoch) for batch in group]))
            step_seconds += time.perf_counter() - step_started
        step_started = time.perf_counter()
        mean_loss = ledger.mean()
        ended = time.perf_counter()
        step_seconds += ended - step_started
        return mean_loss, EpochSeconds(train=ended - started, step=step_seconds)

    def learning_rate(self, step: int) -> float:
        """The learning rate at an optimizer step, counted from 0 over the whole run."""
        return self.settings.learning_rate * lr_factor(step, self.timetable.total, self.peak_step)

    @property
    def peak_step(self) -> int:
        """The step after the warm-up, which never takes more than half of a run."""
        return self.timetable.warmup_steps(self.settings.warmup_epochs)

    def scaled(self, batch: Batch, epoch: int) -> Batch:
        """A batch at the size at which epoch `epoch`, counted from 0, trains."""
        return scaled_batch(batch, self.settings.fidelity.at(epoch + 1).size_share, self.device)

    def renew_statistics(self, batches: Iterable[Batch]) -> None:
        """Have the batch norms hold the statistics of these batches, at the size they have."""
        inputs = (
            normalise(piece.images_nhwc.to(self.device), self.settings.normalisation)
            for batch in batches
            for piece in split_batch(batch, self.pieces)
        )
        with self.precision.autocast():
            renew_statistics(self._unwrapped.model, inputs)

    def set_learning_rate(self, step: int) -> None:
        """Have the optimizer learn as fast as the schedule says for a step."""
        learning_rate = self.learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

    def _optimize(self, group: list[Batch]) -> tuple[Tensor, Tensor]:
        """One optimizer step on the mean loss of a group; that mean, and the gradient's norm.

        The norm is 0 where nobody needs it: without clipping, and in fp16, where it is the
        scaler's to judge.
        """
        mean_loss = torch.zeros((), device=self.device)
        norm = torch.zeros((), device=self.device)
        pieces = [piece for batch in group for piece in self._weighed_pieces(batch)]
        for position, (piece, share) in enumerate(pieces, start=1):
            with self._reducing_gradients_only(last=position == len(pieces)):
                loss = (self._forward(piece) * share).sum() / len(group)
                torch.autograd.backward(self.scaler.scale(loss))
            mean_loss += loss.detach()
        if self.settings.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            found = clip_grad_norm_(self.step_module.parameters(), self.settings.clip_norm)
            norm = norm if self.scaler.is_enabled() else found
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return mean_loss, norm

    def _weighed_pieces(self, batch: Batch) -> list[tuple[Batch, Tensor | float]]:
        pieces = split_batch(batch, self.pieces)
        return list(zip(pieces, shares_of(self._pixel_loss(), pieces, self.device), strict=True))

    def _pixel_loss(self) -> object:
        """What may know how its pixels weigh."""
        loss: object = self._unwrapped.step_loss
        return loss.loss if isinstance(loss, SupervisedLoss) else loss

    @property
    def _unwrapped(self) -> TrainingStep:
        """The model and its loss, without what averages gradients over ranks."""
        wrapped = self.step_module
        module = wrapped.module if isinstance(wrapped, DistributedDataParallel) else wrapped
        assert isinstance(module, TrainingStep)
        return module

    def _forward(self, batch: Batch) -> Tensor:
        images_nhwc = batch.images_nhwc.to(self.device, non_blocking=True)
        targets_nhw = [mask.to(self.device, non_blocking=True) for mask in targets_of(batch)]
        images_nchw = normalise(images_nhwc, self.settings.normalisation)
        with self.precision.autocast():
            loss: Tensor = self.step_module(images_nchw, *targets_nhw)
        return loss

    def _reducing_gradients_only(self, *, last: bool) -> AbstractContextManager[None]:
        """Have DDP average gradients with the last batch of a group alone."""
        if last or not isinstance(self.step_module, DistributedDataParallel):
            return nullcontext()
        held_back: AbstractContextManager[None] = self.step_module.no_sync()
        return held_back


class _LossLedger:
    """The losses and gradients of an epoch, read from the device only now and then."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        alone_on_cpu = stepper.device.type == "cpu" and world_size() == 1
        self._read_every = 1 if alone_on_cpu else LOSSES_READ_EVERY
        self._unread: list[tuple[int, Tensor]] = []
        self._read: list[float] = []

    def add(self, step: int, loss: Tensor, gradient_norm: Tensor) -> None:
        self._unread.append((step, torch.stack([loss, gradient_norm])))
        if len(self._unread) >= self._read_every:
            self._read_all()

    def mean(self) -> float:
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


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
