"""Train a segmentation model: epochs, checkpoints, reports, and going on where a run stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import nn

from automl.data.batching import EpochPlan
from automl.data.dataset import Dataset
from automl.errors import TrialError
from automl.records import Verdict
from automl.training.averaging import WeightAverage
from automl.training.borrowing import as_current, on_device, own_randomness
from automl.training.epochs import TrainingEpochs
from automl.training.evaluation import evaluate
from automl.training.layers import encoder_layers, lr_share_of
from automl.training.lone_values import LoneValues
from automl.training.manner import in_manner
from automl.training.optimizers import build_optimizer
from automl.training.outcome import EpochReporter, FitResult
from automl.training.precision import resolve_precision
from automl.training.progress import RunCheckpoints, metrics_of
from automl.training.ranks import (
    compute_device,
    from_first_rank,
    global_rank,
    over_ranks,
    share_buffers,
    world_size,
)
from automl.training.settings import FitSettings
from automl.training.shapes import level_after
from automl.training.statistics import STATISTICS_BATCHES
from automl.training.steps import StepLoss, Stepper, TrainingStep
from automl.training.synchronised import synchronised


def fit(
    model: nn.Module,
    dataset: Dataset,
    settings: FitSettings,
    *,
    step_loss: StepLoss,
    reporter: EpochReporter,
    checkpoint_folder: Path | None = None,
) -> FitResult:
    """Train `model` on the train split, in place; it ends with the weights of the last epoch.

    Where the settings ask for an average of the weights, that is what is scored, kept in
    checkpoints, and what `model` ends with.
    After each epoch the model is scored on the val split, a checkpoint is written to
    `checkpoint_folder` and the reporter is asked. Where the folder holds a checkpoint, the run
    goes on from it and gives what it would have given undisturbed, losses bit by bit on a CPU.
    The caller sees to it that all ranks of a process group call this; rank 0 alone reads and
    writes checkpoints. Metrics are `train_loss`, `val_loss` (cross entropy in nats a pixel),
    `miou`, `dice`, `pixel_accuracy` and `iou.<class>` of the classes that occur.

    Raises TrialError for a loss or gradient that is not finite and for a checkpoint of another run,
    UsageError for a device, precision or optimizer that is not there, ValueError for a train
    split without samples.
    """
    with prepared(
        model, dataset, settings, step_loss=step_loss, checkpoint_folder=checkpoint_folder
    ) as run:
        return run.to_the_end(reporter)


@contextmanager
def prepared(
    model: nn.Module,
    dataset: Dataset,
    settings: FitSettings,
    *,
    step_loss: StepLoss,
    checkpoint_folder: Path | None = None,
) -> Iterator[Run]:
    """What `fit` has built before its first step, to be looked at and then run to the end.

    Raises as `fit` does. At the end of the block the model is where it was.
    """
    device = compute_device(settings.device)
    step_module = TrainingStep(model, step_loss)
    with (
        as_current(device),
        on_device(step_module, device, settings.manner.layout),
        own_randomness(device),
        in_manner(model, settings.manner),
        synchronised(model) if settings.recipe.sync_batch_norm else nullcontext(),
    ):
        yield Run(step_module, dataset, settings, device, checkpoint_folder)


class Run:
    """One run, or the rest of one: all that trains, built and where it goes on from.

    `stepper` holds the model, the loss and the optimizer.
    """

    def __init__(
        self,
        step_module: TrainingStep,
        dataset: Dataset,
        settings: FitSettings,
        device: torch.device,
        checkpoint_folder: Path | None,
    ) -> None:
        self._started = time.perf_counter()
        self.module = step_module
        self._dataset = dataset
        self._settings = settings
        self._epochs = TrainingEpochs(dataset.split("train"), settings)
        precision = resolve_precision(settings.precision, device)
        recipe, model = settings.recipe, step_module.model
        self.layers = encoder_layers(model, dataset.info.size, recipe)
        self.stepper = Stepper(
            step_module=step_module,
            optimizer=build_optimizer(
                step_module,
                settings.optimizer,
                settings.learning_rate,
                settings.weight_decay,
                lr_share_of(self.layers, recipe),
            ),
            scaler=precision.grad_scaler(),
            precision=precision,
            settings=settings,
            device=device,
            timetable=self._epochs.timetable,
            pieces=self._epochs.pieces,
            lone_values=LoneValues(ranks=world_size() if recipe.sync_batch_norm else 1),
            average=WeightAverage(model, recipe.ema_decay) if recipe.ema_decay else None,
        )
        self._checkpoints = RunCheckpoints(
            checkpoint_folder, step_module, self.stepper, dataset.info.fingerprint
        )
        self._progress = self._checkpoints.resume()
        self._seconds_before = self._progress.total_seconds
        self._begin_epoch()
        self.stepper.step_module = self._over_ranks()
        self._plan = self._epochs.plan(self._progress.epoch)

    @property
    def epochs_done(self) -> int:
        """The finished epochs: those of the checkpoint that the run goes on from, at first."""
        return self._progress.epoch

    @property
    def plan(self) -> EpochPlan:
        """The batches of the next epoch, as they will be walked through."""
        if self._plan.epoch != self._progress.epoch:
            self._plan = self._epochs.plan(self._progress.epoch)
        return self._plan

    def to_the_end(self, reporter: EpochReporter) -> FitResult:
        """Train until the last epoch is done, the reporter says stop, or no score gets better."""
        stopped = self._progress.epoch > 0 and self._told_to_stop(reporter)
        while not stopped and not self._has_ended():
            self._train()
            self._evaluate()
            self._progress.total_seconds = self._seconds_so_far()
            self._checkpoints.save(self._progress)
            stopped = self._told_to_stop(reporter)
        progress = self._progress
        if self.stepper.average is not None:
            self.module.model.load_state_dict(self.stepper.average.model.state_dict())
        return FitResult(
            epochs=progress.epoch,
            stopped=stopped and progress.epoch < self._settings.epochs,
            early=self._early_end(),
            scores=progress.evaluation.scores,
            metrics=metrics_of(progress, self._dataset.info.classes),
            losses=tuple(progress.losses),
            step_seconds=progress.step_seconds,
            train_seconds=progress.train_seconds,
            evaluation_seconds=progress.evaluation_seconds,
            total_seconds=self._seconds_so_far(),
        )

    @property
    def trained_model(self) -> nn.Module:
        """The network that is scored and kept: the average of the weights, where there is one."""
        average = self.stepper.average
        return self.module.model if average is None else average.model

    @property
    def scores(self) -> tuple[float, ...]:
        """The mIoU on val of each finished epoch."""
        return tuple(self._progress.mious)

    def level_after(self, scores: Sequence[float]) -> float:
        """What the schedule makes of its rates after epochs with these scores on val."""
        return level_after(self._settings.recipe.schedule, scores)

    def _has_ended(self) -> bool:
        return self._progress.epoch >= self._settings.epochs or self._early_end() is not None

    def _early_end(self) -> str | None:
        """How the run has ended before its last epoch by itself, or None."""
        rule = self._settings.recipe.early_stop
        return None if rule is None else rule.end(self.scores, self._settings.epochs)

    def _begin_epoch(self) -> bool:
        """Prepare the next epoch; whether other parameters learn in it than before."""
        recipe, progress = self._settings.recipe, self._progress
        self.stepper.level = self.level_after(progress.mious)
        layers = self.layers
        return layers is not None and layers.freeze(progress.epoch, recipe.freeze_epochs)

    def _train(self) -> None:
        progress = self._progress
        if self._begin_epoch():
            # What averages gradients over ranks knows the parameters that learnt when it was made.
            self.stepper.step_module = self._over_ranks()
        # Seeding each epoch by its number makes a continued run draw what it would have drawn.
        torch.manual_seed(_epoch_seed(self._settings.seed, progress.epoch))
        loss, seconds = self.stepper.run_epoch(self.plan.batches(), progress.epoch)
        if self._epochs.is_small(progress.epoch):
            self.stepper.renew_statistics(self.plan.some_batches(STATISTICS_BATCHES))
        share_buffers(self.module)
        if self.stepper.average is not None:
            share_buffers(self.stepper.average.model)
        progress.epoch += 1
        progress.losses.append(loss)
        progress.step_seconds += seconds.step
        progress.train_seconds += seconds.train

    def _evaluate(self) -> None:
        started = time.perf_counter()
        evaluation = evaluate(
            self.trained_model,
            self._dataset.split("val"),
            num_classes=len(self._dataset.info.classes),
            settings=self._settings.for_evaluation(world_size=world_size()),
        )
        progress = self._progress
        if not np.isfinite(evaluation.cross_entropy):
            last = self.stepper.timetable.first_step(progress.epoch) - 1
            raise TrialError(
                f"the loss on val is {evaluation.cross_entropy} after step {last + 1} "
                f"(epoch {progress.epoch}), learning rate {self.stepper.learning_rate(last):.3g}; "
                "it must be finite: try a lower learning rate"
            )
        progress.confusion_kk = evaluation.confusion_kk.tolist()
        progress.mious.append(evaluation.scores.miou)
        progress.val_loss = evaluation.cross_entropy
        progress.evaluation_seconds += time.perf_counter() - started

    def _told_to_stop(self, reporter: EpochReporter) -> bool:
        """Ask every rank's reporter, and do what rank 0's says.

        Where rank 0's raises, the other ranks are told before it goes on, or they would wait.
        """
        metrics = metrics_of(self._progress, self._dataset.info.classes)
        try:
            verdict: Verdict | None = reporter.report(self._progress.epoch, metrics)
        except BaseException:
            if global_rank() == 0:
                from_first_rank(None)
            raise
        verdict = from_first_rank(verdict)
        if verdict is None:
            raise TrialError(f"the report of epoch {self._progress.epoch} failed on rank 0")
        return verdict is not Verdict.CONTINUE

    def _over_ranks(self) -> nn.Module:
        held_back = self._settings.accumulate > 1 or self._epochs.pieces > 1
        return over_ranks(self.module, held_back=held_back)

    def _seconds_so_far(self) -> float:
        return self._seconds_before + time.perf_counter() - self._started


def _epoch_seed(seed: int, epoch: int) -> int:
    sequence = np.random.SeedSequence([seed, epoch, global_rank()])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)
