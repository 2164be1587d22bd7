"""What every job of a study needs to know, and where it finds it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from automl.data.dataset import Dataset, open_dataset
from automl.jobs.stopwatch import Stopwatch, StopwatchHere
from automl.space.experiment import Experiment
from automl.storage.home import FolderHome, Home
from automl.store.layout import StudyFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """The experiment, the study's folder, the imported dataset; CPU threads for one job.

    `stopwatch` times exported files. `home` is where the study's files are at home: jobs bring what
    they read, and keep what others read, before it is told of.
    """

    experiment: Experiment
    study_root: Path
    dataset_root: Path
    threads: int
    stopwatch: Stopwatch = field(default_factory=StopwatchHere)
    home: Home = field(default_factory=FolderHome)

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads}")

    @property
    def folder(self) -> StudyFolder:
        """The study's folder."""
        return StudyFolder(self.study_root)

    def here(self) -> JobContext:
        """The same with the folders of this node, the dataset in them; every job begins so."""
        return replace(
            self,
            study_root=self.home.root(self.study_root),
            dataset_root=self.home.dataset(self.dataset_root),
        )

    def within(self, folder: str) -> JobContext:
        """The same for a study that lies in a folder of this one."""
        return replace(self, study_root=self.study_root / folder, home=self.home.within(folder))

    def bring(self, *places: Path) -> None:
        """Have what others wrote at or below these places of the study."""
        self.home.bring(self.study_root, *places)

    def keep(self, *places: Path) -> None:
        """Let others find what lies at or below these places of the study."""
        self.home.keep(self.study_root, *places)

    def events(self) -> list[dict[str, Any]]:
        """The study's journal so far."""
        return self.home.events(self.study_root)

    def dataset(self) -> Dataset:
        """The memory-mapped dataset."""
        return open_dataset(self.dataset_root)


def available_cpus() -> int:
    """The cores that this process may use; all of the machine where the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    count = os.cpu_count()
    return 1 if count is None else count


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use `count` CPU threads, then give back the setting that was there."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
