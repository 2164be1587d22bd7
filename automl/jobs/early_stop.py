"""The early end of a trial, read from its checkpoint: its processes may be on other machines."""

from __future__ import annotations

from pathlib import Path

import torch

from automl.space.training import TrainSettings
from automl.training.checkpoint import load_checkpoint
from automl.training.recipe import EarlyStop


def early_stop_of(train: TrainSettings) -> EarlyStop | None:
    """The rule that an experiment declares."""
    declared = train.early_stop
    if declared is None:
        return None
    return EarlyStop(patience=declared.patience, min_delta=declared.min_delta)


def early_end(trial_folder: Path, train: TrainSettings) -> str | None:
    """How the trial in a folder ended before its last epoch by itself; None where it did not."""
    rule = early_stop_of(train)
    if rule is None:
        return None
    checkpoint = load_checkpoint(trial_folder / "checkpoint", torch.device("cpu"))
    if checkpoint is None:
        return None
    return rule.end(checkpoint.extra["progress"]["mious"], train.epochs)
