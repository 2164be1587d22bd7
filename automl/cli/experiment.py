"""An experiment file with all that is known to fail, its networks included."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from automl.space.experiment import Experiment
    from automl.space.faults import Fault, KeyPath
    from automl.space.loading import Overrides


def load_checked(file: str, overrides: Overrides | None = None) -> Experiment:
    """Load a file, or raise SpaceError with every fault of it and of what it would build."""
    from automl.space.loading import load_experiment

    return load_experiment(file, overrides, check=_model_faults)


def _model_faults(experiment: Experiment, unknown: Set[KeyPath]) -> Sequence[Fault]:
    # Imported only now: what is no experiment at all is told at once.
    typer.secho("loading PyTorch ...", err=True, dim=True)
    from automl.stages.preflight import model_faults

    return model_faults(experiment, unknown)
