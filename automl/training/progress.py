"""What a run must know to go on, and its way to the disk and back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from automl.errors import TrialError
from automl.records import to_json
from automl.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    pack_optimizer,
    save_checkpoint,
    unpack_optimizer,
)
from automl.training.evaluation import Evaluation
from automl.training.manner import AS_USUAL
from automl.training.ranks import from_first_rank, global_rank, world_size
from automl.training.recipe import PLAIN
from automl.training.steps import StepLoss, Stepper, TrainingStep

#: Settings that may differ between a run and its continuation: they do not steer the training
#: (`micro_batches` does, a little, where the alternative is no training at all).
_FREE_TO_CHANGE = ("device", "loader_workers", "micro_batches")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Progress:
    """What grows from epoch to epoch; plain JSON values. `epoch` counts the finished ones.

    `mious` are the scores of the epochs on val, which a schedule or an early stop may go by.
    """

    epoch: int = 0
    losses: list[float] = field(default_factory=list)
    mious: list[float] = field(default_factory=list)
    confusion_kk: list[list[int]] = field(default_factory=list)
    val_loss: float = 0.0
    step_seconds: float = 0.0
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    total_seconds: float = 0.0

    @property
    def evaluation(self) -> Evaluation:
        """The evaluation of the last epoch on val."""
        confusion_kk = np.asarray(self.confusion_kk, dtype=np.int64)
        return Evaluation(confusion_kk=confusion_kk, cross_entropy=self.val_loss)


class RunCheckpoints:
    """The checkpoints of one run in `folder`, or nowhere; rank 0 alone touches the disk."""

    def __init__(
        self, folder: Path | None, module: TrainingStep, stepper: Stepper, dataset_fingerprint: str
    ) -> None:
        self._folder = folder
        self._module = module
        self._stepper = stepper
        self._dataset_fingerprint = dataset_fingerprint

    def save(self, progress: Progress) -> None:
        """Put model, optimizer and progress on disk; raises StudyError for a full disk."""
        if self._folder is None or global_rank() != 0:
            return
        average, live = self._stepper.average, self._module.model.state_dict()
        checkpoint = Checkpoint(
            epoch=progress.epoch,
            model_state=live if average is None else average.model.state_dict(),
            live_state={} if average is None else live,
            step_loss_state=_state_of(self._module.step_loss),
            optimizer_state=pack_optimizer(self._stepper.optimizer),
            scaler_state=self._stepper.scaler.state_dict(),
            extra={"run": self._identity(), "progress": asdict(progress)},
        )
        save_checkpoint(self._folder, checkpoint)

    def resume(self) -> Progress:
        """Give every rank what the newest checkpoint holds; without one, the beginning.

        Raises TrialError for a checkpoint of other settings, data, ranks or model.
        """
        found = None
        if self._folder is not None and global_rank() == 0:
            found = load_checkpoint(self._folder, torch.device("cpu"))
        found = from_first_rank(found)
        if found is None:
            return Progress()
        self._check_same_run(found)
        try:
            self._restore(found)
        except (RuntimeError, ValueError) as error:
            raise TrialError(
                f"the checkpoint in {self._folder} is of another model: {error}"
            ) from error
        _log.info("continuing after epoch %d from %s", found.epoch, self._folder)
        return Progress(**found.extra["progress"])

    def _restore(self, found: Checkpoint) -> None:
        average = self._stepper.average
        live = found.model_state if average is None else found.live_state
        self._module.model.load_state_dict(dict(live))
        if average is not None:
            average.model.load_state_dict(dict(found.model_state))
        if isinstance(self._module.step_loss, nn.Module):
            self._module.step_loss.load_state_dict(dict(found.step_loss_state))
        unpack_optimizer(self._stepper.optimizer, found.optimizer_state)
        # Empty where the run was not in fp16, which `auto` may have become on another device.
        if found.scaler_state:
            self._stepper.scaler.load_state_dict(dict(found.scaler_state))

    def _check_same_run(self, found: Checkpoint) -> None:
        # A run of before there were recipes (or some part of them), manners and views had the
        # default ones.
        defaults: dict[str, Any] = {
            "recipe": to_json(PLAIN),
            "manner": to_json(AS_USUAL),
            "views": 0,
        }
        before, now = {**defaults, **found.extra["run"]}, self._identity()
        before["recipe"] = {**defaults["recipe"], **before["recipe"]}
        differing = [name for name in now if before.get(name) != now[name]]
        if differing:
            changes = ", ".join(f"{name} was {before.get(name)}" for name in differing)
            raise TrialError(
                f"the checkpoint in {self._folder} is of another run ({changes}): "
                "give the run a folder of its own"
            )

    def _identity(self) -> dict[str, Any]:
        """What decides the weights besides model and loss, as plain JSON."""
        plain = to_json(self._stepper.settings)
        for name in _FREE_TO_CHANGE:
            del plain[name]
        return {**plain, "dataset": self._dataset_fingerprint, "world_size": world_size()}


def metrics_of(progress: Progress, classes: Sequence[str]) -> dict[str, float]:
    """What is told of the last epoch."""
    scores = progress.evaluation.scores
    metrics = {
        "train_loss": progress.losses[-1],
        "val_loss": progress.val_loss,
        "miou": scores.miou,
        "dice": scores.dice,
        "pixel_accuracy": scores.pixel_accuracy,
    }
    for name, iou in zip(classes, scores.iou, strict=True):
        if iou is not None:
            metrics[f"iou.{name}"] = iou
    return metrics


def _state_of(step_loss: StepLoss) -> dict[str, Tensor]:
    return step_loss.state_dict() if isinstance(step_loss, nn.Module) else {}
