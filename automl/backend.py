"""Where jobs run: the protocol, and the backend that runs them in this process.

A backend does two things: it drives a search (`run_trials`), and it maps independent jobs
(`map_jobs`). Nothing above asks which one it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from automl.conductor.conductor import Conductor
from automl.conductor.here import run_here
from automl.errors import UsageError
from automl.jobs.context import JobContext, available_cpus
from automl.jobs.launched import train_in_launched_group
from automl.jobs.stopwatch import Stopwatch, StopwatchHere
from automl.jobs.trial import run_trial
from automl.space.experiment import Experiment
from automl.training.group import LaunchedRank
from automl.training.ranks import compute_device

_HERE = StopwatchHere()

Item = TypeVar("Item")
Answer = TypeVar("Answer")
#: Takes a line for the user.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFault:
    """In place of the answer of a job whose process was lost."""

    reason: str


class Backend(Protocol):
    """Runs trials and jobs."""

    def describe(self) -> str:
        """One line for the user: where jobs run, and how many at a time."""

    def threads_per_job(self) -> int:
        """CPU threads that each job may use."""

    def stopwatch(self) -> Stopwatch:
        """What times exported files, in jobs and stages alike."""

    def uses_other_machines(self) -> bool:
        """Whether jobs may run where this machine's disk is not seen."""

    def run_trials(self, conductor: Conductor, context: JobContext, say: Say) -> None:
        """Run trials until the conductor has no more; a fault in one never ends the others.

        What becomes of the machines meanwhile is said.
        """

    def map_jobs(
        self, job: Callable[[Item], Answer], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Answer | JobFault]]:
        """Run `job`, a module-level function, on each item; yields each as it ends."""

    def close(self) -> None:
        """Give back what the backend holds."""


class LocalBackend:
    """One job at a time, in this process, on all its cores; no Ray."""

    def __init__(self, experiment: Experiment, stopwatch: Stopwatch = _HERE) -> None:
        workers = experiment.train.workers
        if workers > 1:
            raise UsageError(
                f"train.workers: given {workers}; allowed without Ray: 1. "
                "Leave out --local, or use --workers-per-trial 1"
            )
        self._device = compute_device(experiment.train.device).type
        self._stopwatch = stopwatch

    def describe(self) -> str:
        """One line for the user."""
        threads = self.threads_per_job()
        return f"{self._device}: this process, 1 trial at a time, {threads} CPU threads"

    def threads_per_job(self) -> int:
        """All cores that this process may use."""
        return available_cpus()

    def stopwatch(self) -> Stopwatch:
        """Each file is timed here, or where it was told."""
        return self._stopwatch

    def uses_other_machines(self) -> bool:
        """All jobs run in this process."""
        return False

    def run_trials(self, conductor: Conductor, context: JobContext, say: Say) -> None:
        """Run trials one after another."""
        run_here(conductor, lambda config, reporter: run_trial(config, context, reporter))

    def map_jobs(
        self, job: Callable[[Item], Answer], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Answer | JobFault]]:
        """Run the jobs one after another."""
        for item in items:
            yield item, job(item)

    def close(self) -> None:
        """Nothing is held."""


class LaunchedBackend:
    """The first of the processes that torchrun started: it works alone, and trains with them all.

    The others are in `follow_first_rank`.
    """

    def __init__(self, experiment: Experiment, launched: LaunchedRank) -> None:
        self._device = compute_device(experiment.train.device).type
        self._launched = launched

    def describe(self) -> str:
        """One line for the user."""
        ranks, threads = self._launched.world_size, self.threads_per_job()
        return f"{self._device}: {ranks} processes of torchrun, {threads} CPU threads each"

    def threads_per_job(self) -> int:
        """An equal part of the cores of this machine for each process on it."""
        return max(1, available_cpus() // self._launched.local_world_size)

    def stopwatch(self) -> Stopwatch:
        """Each file is timed here."""
        return StopwatchHere()

    def uses_other_machines(self) -> bool:
        """Ranks may; they share the folder and the cache."""
        return False

    def run_trials(self, conductor: Conductor, context: JobContext, say: Say) -> None:
        """Run trials one after another, each with every process."""
        run_here(
            conductor,
            lambda config, reporter: run_trial(
                config, context, reporter, train=train_in_launched_group
            ),
        )

    def map_jobs(
        self, job: Callable[[Item], Answer], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Answer | JobFault]]:
        """Run the jobs one after another, in this process alone."""
        for item in items:
            yield item, job(item)

    def close(self) -> None:
        """Nothing is held."""
