"""Pre-train an encoder on images alone: epochs of the same steps as any training, no evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from automl.data.dataset import Dataset
from automl.data.views import PairedViews
from automl.training.borrowing import as_current, on_device, own_randomness
from automl.training.contrastive import ContrastiveLoss
from automl.training.optimizers import build_optimizer
from automl.training.precision import resolve_precision
from automl.training.progress import RunCheckpoints
from automl.training.ranks import compute_device
from automl.training.schedules import Timetable
from automl.training.settings import FitSettings
from automl.training.steps import Stepper, TrainingStep

#: Fewer images a batch give a view so few others to differ from that little is learnt: the paper's
#: smallest batch is 256, and figure 9 shows how accuracy falls with it.
USEFUL_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingResult:
    """The mean losses of the epochs, and what a guess would have: the log of 2 N - 1."""

    losses: tuple[float, ...]
    chance: float


#: Takes the number of an epoch, from 1, and its mean loss.
HearLoss = Callable[[int, float], None]


def pretrain(
    encoder: nn.Module,
    dataset: Dataset,
    settings: FitSettings,
    *,
    loss: ContrastiveLoss,
    checkpoint_folder: Path,
    hear: HearLoss,
) -> PretrainingResult:
    """Train `encoder`, in place, on the images of the train split; val and test are not looked at.

    A checkpoint is written after each epoch, and a run that is started again goes on from it to
    what it would have been, bit by bit on a CPU. Raises TrialError for a loss that is not finite
    and for a checkpoint of another run, ValueError for a split of fewer than two images.
    """
    device = compute_device(settings.device)
    views = PairedViews(
        dataset.split("train"), settings.batch_size, settings.seed, settings.loader_workers
    )
    if views.images < 2:
        raise ValueError(f"a batch needs at least 2 images, got {views.images}")
    step = TrainingStep(encoder, loss)
    with as_current(device), on_device(step, device), own_randomness(device):
        precision = resolve_precision(settings.precision, device)
        stepper = Stepper(
            step_module=step,
            optimizer=build_optimizer(
                step, settings.optimizer, settings.learning_rate, settings.weight_decay
            ),
            scaler=precision.grad_scaler(),
            precision=precision,
            settings=settings,
            device=device,
            timetable=Timetable((len(views),) * settings.epochs),
        )
        checkpoints = RunCheckpoints(checkpoint_folder, step, stepper, dataset.info.fingerprint)
        progress = checkpoints.resume()
        while progress.epoch < settings.epochs:
            torch.manual_seed(settings.seed * 1_000_003 + progress.epoch)
            mean_loss, seconds = stepper.run_epoch(views.batches(progress.epoch), progress.epoch)
            progress.epoch += 1
            progress.losses.append(mean_loss)
            progress.train_seconds += seconds.train
            checkpoints.save(progress)
            hear(progress.epoch, mean_loss)
    return PretrainingResult(losses=tuple(progress.losses), chance=math.log(2 * views.images - 1))
