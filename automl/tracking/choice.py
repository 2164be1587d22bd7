"""Which programs can follow a study."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from automl.errors import UsageError
from automl.store.layout import StudyFolder
from automl.tracking.tracker import Tracker


class Program(NamedTuple):
    """The package that a tracker needs, how to get it, and what starts the tracker."""

    package: str
    install: str
    start: Callable[[StudyFolder], Tracker]


def _tensorboard(folder: StudyFolder) -> Tracker:
    from automl.tracking.tensorboard import TensorBoardTracker  # noqa: PLC0415  seconds to load

    return TensorBoardTracker(folder.root / "tensorboard")


def _mlflow(folder: StudyFolder) -> Tracker:
    from automl.tracking.mlflow import MlflowTracker  # noqa: PLC0415  seconds to load

    return MlflowTracker(folder.root.name, folder.root / "mlflow")


PROGRAMS: Mapping[str, Program] = MappingProxyType(
    {
        "tensorboard": Program("tensorboardX", "pip install tensorboardX", _tensorboard),
        "mlflow": Program("mlflow", "pip install 'automl[mlflow]'", _mlflow),
    }
)


def programs_of(text: str | None) -> tuple[str, ...]:
    """The programs that `--track` names.

    Raises:
        UsageError: one is unknown, or its package is not installed.
    """
    names = () if text is None else tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in PROGRAMS:
            raise UsageError(f"--track: given {name!r}; allowed: {', '.join(PROGRAMS)}")
        program = PROGRAMS[name]
        if importlib.util.find_spec(program.package) is None:
            raise UsageError(f"--track: {name} is not installed here: {program.install}")
    return names
