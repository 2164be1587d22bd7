"""A study: what is searched, on which data, where its files lie, and who is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from automl.backend import Backend
from automl.conductor.snapshot import Observer
from automl.data.dataset import Dataset
from automl.jobs.context import JobContext
from automl.space.experiment import Experiment
from automl.storage.upkeep import NoUpkeep, Upkeep
from automl.store.layout import StudyFolder


class Narrator(Observer, Protocol):
    """Watches a study and is told what each stage does."""

    def say(self, line: str) -> None:
        """Take one line of text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Everything that the stages of one study share."""

    experiment: Experiment
    folder: StudyFolder
    dataset: Dataset
    backend: Backend
    narrator: Narrator
    upkeep: Upkeep = field(default_factory=NoUpkeep)

    @property
    def context(self) -> JobContext:
        """What the study's jobs need."""
        return JobContext(
            experiment=self.experiment,
            study_root=self.folder.root,
            dataset_root=self.dataset.root,
            threads=self.backend.threads_per_job(),
            stopwatch=self.backend.stopwatch(),
            home=self.upkeep.home,
        )
