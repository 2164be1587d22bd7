"""How a job trains fastest, measured once: what was chosen is on disk before it is trained with.

Times vary from run to run, and with them the choice would; the file (`speed.json` in the job's
folder) makes it a fact. A job that is started again, on whatever machine, and a trial that is
reproduced or repeated with another seed train as it says.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

from torch import nn

from automl.data.dataset import Dataset
from automl.errors import TrialError
from automl.records import SpeedChoice, from_json, to_json
from automl.space.training import TrainSettings
from automl.store.atomic import write_json
from automl.training.ranks import from_first_rank, global_rank
from automl.training.settings import FitSettings
from automl.training.steps import StepLoss
from automl.training.tuning import Wanted, settings_of, tune

_FILE = "speed.json"

_log = logging.getLogger(__name__)


def wanted_of(train: TrainSettings) -> Wanted:
    """What an experiment leaves to a measurement."""
    return Wanted(
        fastest_precision=train.precision == "fastest",
        compiled=train.compile,
        fastest_loader=train.loader_workers == "fastest",
    )


def choice_file(folder: Path) -> Path:
    """Where the choice of the job in `folder` is kept."""
    return folder / _FILE


def read_choice(folder: Path) -> SpeedChoice | None:
    """What was chosen for the job in `folder`; None where nothing was measured."""
    file = choice_file(folder)
    if not file.exists():
        return None
    try:
        return from_json(SpeedChoice, json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise TrialError(f"{file}: not a readable choice of speed: {error}") from error


def keep_choice(folder: Path, choice: SpeedChoice | None) -> None:
    """Have the job in `folder` train as another did; one that has a choice keeps its own."""
    if choice is not None and not choice_file(folder).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(choice_file(folder), to_json(choice))


def with_fastest(
    settings: FitSettings,
    wanted: Wanted,
    folder: Path,
    *,
    trained: tuple[nn.Module, StepLoss],
    dataset: Dataset,
) -> FitSettings:
    """The settings with what the job in `folder` chose, which is measured here if it is not there.

    `trained` are the network and its loss. In a group of processes every one calls this.
    """
    if not wanted:
        return settings
    choice = from_first_rank(read_choice(folder) if global_rank() == 0 else None)
    if choice is None:
        model, step_loss = trained
        choice = from_first_rank(tune(model, step_loss, dataset, settings, wanted))
        if global_rank() == 0:
            keep_choice(folder, choice)
            _log.info("%s trains in %s", folder.name, choice)
    return settings_of(choice, settings)


def without_compiling(wanted: Wanted) -> Wanted:
    """The same for a job whose loss calls the network otherwise than compiled kernels allow."""
    return replace(wanted, compiled=False)
