"""One epoch of optimizer steps.

Shapes: N batch, K classes, H and W pixels.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from automl.data.batching import Batch
from automl.training.averaging import WeightAverage
from automl.training.evaluation import normalise
from automl.training.layers import rest_norms
from automl.training.ledger import LossLedger
from automl.training.lone_values import LoneValues
from automl.training.optimizers import LR_SHARE
from automl.training.pieces import labels_on, shares_of, split_batch, targets_of
from automl.training.precision import Precision
from automl.training.remembering import Remembering
from automl.training.resolution import scaled_batch
from automl.training.schedules import Timetable
from automl.training.self_distillation import Tutor, teaches_from
from automl.training.settings import FitSettings
from automl.training.shapes import SHAPES
from automl.training.statistics import renew_statistics

T = TypeVar("T")


class StepLoss(Protocol):
    """What a step minimises, as a scalar whose gradients' mean over the ranks is wanted.

    One that is an `nn.Module` moves to the model's device, and its own parameters are trained and
    checkpointed with the model's.
    """

    def __call__(self, model: nn.Module, images_nchw: Tensor, target_nhw: Tensor) -> Tensor:
        """The loss of `model` on normalised images and their labels."""


@runtime_checkable
class KnowsSamples(Protocol):
    """A loss that knows something of each sample beforehand; `samples_n` as in `Batch`."""

    def of_samples(self, samples_n: Tensor) -> StepLoss:
        """The loss of a batch of these samples."""


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
    """A model and its loss as one module: what DDP wraps, whatever the loss calls on the model.

    A `tutor` teaches beside the loss; it is no submodule: neither trained nor switched to training.
    """

    def __init__(self, model: nn.Module, step_loss: StepLoss) -> None:
        super().__init__()
        self.model = model
        self.step_loss = step_loss
        self.tutor: Tutor | None = None

    def forward(
        self, images_nchw: Tensor, *targets_nhw: Tensor, samples_n: Tensor | None = None
    ) -> Tensor:
        """The loss, a scalar; of two targets that by each, (2,), of one pass of the model."""
        loss = self.step_loss
        if samples_n is not None and isinstance(loss, KnowsSamples):
            loss = loss.of_samples(samples_n)
        if len(targets_nhw) == 1 and self.tutor is None:
            return loss(self.model, images_nchw, targets_nhw[0])
        model = Remembering(self.model)
        losses = torch.stack([loss(model, images_nchw, target) for target in targets_nhw])
        if self.tutor is not None:
            losses = losses + self.tutor.term(model(images_nchw), images_nchw)
        return losses if len(targets_nhw) > 1 else losses[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSeconds:
    """Wall time of one epoch's training: all of it, and the part spent in optimizer steps."""

    train: float
    step: float


@dataclass(slots=True, kw_only=True)
class Stepper:
    """All that an optimizer step touches.

    `timetable` holds the optimizer steps of the run; `pieces` counts those of each batch: no more
    than the images that the rank with the fewest has of it. `level` is what the scores so far have
    made of the schedule's rates, 1 for most schedules. `average` takes in the weights of each step.
    `lone_values` knows what batch norms have no statistics of.
    """

    step_module: nn.Module
    optimizer: Optimizer
    scaler: GradScaler
    precision: Precision
    settings: FitSettings
    device: torch.device
    timetable: Timetable
    pieces: int = 1
    level: float = 1.0
    average: WeightAverage | None = None
    lone_values: LoneValues = field(default_factory=LoneValues)

    def run_epoch(self, batches: Iterable[Batch], epoch: int) -> tuple[float, EpochSeconds]:
        """Train epoch `epoch`, counted from 0; returns its mean loss over steps, and times.

        Raises TrialError, on every rank, for a loss or a gradient that is not finite. In fp16 the
        scaler skips steps whose gradients overflow; that is a fault only once no scale is left.
        """
        started = time.perf_counter()
        step_seconds = 0.0
        ledger = LossLedger(self)
        first_step = self.timetable.first_step(epoch)
        self.step_module.train()
        rest_norms(self.step_module)
        for index, group in enumerate(self.groups(batches)):
            step_started = time.perf_counter()
            step = first_step + index
            self.set_learning_rate(step)
            self.set_tutor(step)
            ledger.add(step, *self._optimize([self.scaled(batch, epoch) for batch in group]))
            if self.average is not None:
                self.average.update(self.unwrapped.model, updates=step)
            step_seconds += time.perf_counter() - step_started
        step_started = time.perf_counter()
        mean_loss = ledger.mean()
        ended = time.perf_counter()
        step_seconds += ended - step_started
        return mean_loss, EpochSeconds(train=ended - started, step=step_seconds)

    def groups(self, batches: Iterable[T]) -> Iterator[list[T]]:
        """The batches of each optimizer step; the last of an epoch may have fewer."""
        iterator = iter(batches)
        while group := list(islice(iterator, self.settings.accumulate)):
            yield group

    def learning_rate(self, step: int) -> float:
        """The learning rate at an optimizer step, counted from 0 over the whole run."""
        factor = SHAPES[self.settings.recipe.schedule].factor
        rate = self.settings.learning_rate * factor(step, self.timetable.total, self._warmup_steps)
        return rate * self.level

    @property
    def peak_step(self) -> int:
        """The first step at the peak of the schedule: for most, the one after the warm-up."""
        peak = SHAPES[self.settings.recipe.schedule].peak
        return peak(self.timetable.total, self._warmup_steps)

    @property
    def _warmup_steps(self) -> int:
        """The warm-up never takes more than half of a run."""
        return self.timetable.warmup_steps(self.settings.warmup_epochs)

    def scaled(self, batch: Batch, epoch: int) -> Batch:
        """A batch at the size at which epoch `epoch`, counted from 0, trains."""
        return scaled_batch(batch, self.settings.fidelity.at(epoch + 1).size_share, self.device)

    def renew_statistics(self, batches: Iterable[Batch]) -> None:
        """Have the batch norms hold the statistics of these batches, at the size they have."""
        averaged = [] if self.average is None else [self.average.model]
        pieces = [piece for batch in batches for piece in split_batch(batch, self.pieces)]
        for model in (self.unwrapped.model, *averaged):
            inputs = (
                normalise(piece.images_nhwc.to(self.device), self.settings.normalisation)
                for piece in pieces
            )
            with self.precision.autocast():
                renew_statistics(model, inputs, self.lone_values)

    def set_learning_rate(self, step: int) -> None:
        """Have each group learn its share of what the schedule says for a step."""
        learning_rate = self.learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group.get(LR_SHARE, 1.0)

    def set_tutor(self, step: int) -> None:
        """Have the average of the weights teach at a step, or nobody."""
        weight = self.settings.recipe.ema_distillation
        teaches = weight > 0 and step >= teaches_from(self.timetable.total)
        average = self.average if teaches else None
        self.unwrapped.tutor = None if average is None else Tutor(average.model, weight)

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
        found = self.clip_gradients()
        norm = norm if self.scaler.is_enabled() else found
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return mean_loss, norm

    def clip_gradients(self) -> Tensor:
        """Scale all gradients down to the largest norm together; what it was, 0 if unbounded.

        Source: Pascanu et al. 2013 (arXiv:1211.5063), algorithm 1.
        """
        largest = self.settings.clip_norm
        if largest is None:
            return torch.zeros((), device=self.device)
        return clip_grad_norm_(self.step_module.parameters(), largest)

    def _weighed_pieces(self, batch: Batch) -> list[tuple[Batch, Tensor | float]]:
        pieces = split_batch(batch, self.pieces)
        return list(zip(pieces, shares_of(self._pixel_loss(), pieces, self.device), strict=True))

    def _pixel_loss(self) -> object:
        """What may know how its pixels weigh."""
        loss: object = self.unwrapped.step_loss
        return loss.loss if isinstance(loss, SupervisedLoss) else loss

    @property
    def unwrapped(self) -> TrainingStep:
        """The model and its loss, without what averages gradients over ranks."""
        wrapped = self.step_module
        module = wrapped.module if isinstance(wrapped, DistributedDataParallel) else wrapped
        assert isinstance(module, TrainingStep)
        return module

    def _forward(self, batch: Batch) -> Tensor:
        images_nhwc = batch.images_nhwc.to(self.device, non_blocking=True)
        targets_nhw = [labels_on(self.device, mask_nhw) for mask_nhw in targets_of(batch)]
        images_nchw = normalise(images_nhwc, self.settings.normalisation)
        model = self.unwrapped.model
        with self.precision.autocast(), self.lone_values.resting(model, images_nchw):
            loss: Tensor = self.step_module(images_nchw, *targets_nhw, samples_n=batch.samples_n)
        return loss

    def _reducing_gradients_only(self, *, last: bool) -> AbstractContextManager[None]:
        """Have DDP average gradients with the last batch of a group alone."""
        if last or not isinstance(self.step_module, DistributedDataParallel):
            return nullcontext()
        held_back: AbstractContextManager[None] = self.step_module.no_sync()
        return held_back
