"""The backend on Ray: trials on Ray Tune, worker groups on Ray Train, other jobs as tasks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray import tune

from automl.backend import JobFault
from automl.conductor.conductor import Conductor
from automl.conductor.events import verdict_on
from automl.distributed.devices import trains_on_gpu
from automl.distributed.probe import find_probe, probe_stopwatch
from automl.distributed.slots import slots_of
from automl.distributed.tune_seams import (
    CONFIG_KEY,
    FAULT_KEY,
    MESSAGE_KEY,
    ConductorScheduler,
    ConductorSearcher,
    Door,
)
from automl.distributed.worker_group import train_in_worker_group
from automl.errors import AutomlError, StudyError
from automl.jobs.context import JobContext
from automl.jobs.stopwatch import Stopwatch, StopwatchHere
from automl.jobs.trial import run_trial
from automl.records import (
    TrialConfig,
    TrialMessage,
    Verdict,
    canonical_json,
    from_json,
    to_json,
)
from automl.space.experiment import Experiment
from automl.store.journal import read_journal

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def _answer(reference: ray.ObjectRef) -> Any:
    """A task's answer, or the fault that took its process: the other jobs go on.

    Raises the StudyError that a job met: the other jobs would meet it, too.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as fault:
        if isinstance(fault.cause, StudyError):
            raise fault.cause from fault
        return _lost(fault)
    except ray.exceptions.RayError as fault:
        return _lost(fault)


def _lost(fault: ray.exceptions.RayError) -> JobFault:
    return JobFault(reason=f"{type(fault).__name__}: {str(fault).splitlines()[0]}")


class TuneReporter:
    """Reports to the driver of the study through Ray Tune."""

    def report(self, config: TrialConfig, message: TrialMessage) -> Verdict:
        """Pass on one message; where the verdict is to stop, Tune raises SystemExit here."""
        tune.report({MESSAGE_KEY: canonical_json(to_json(message))})
        return Verdict.CONTINUE


@dataclass(frozen=True, slots=True)
class GroupReporter:
    """Reports as `TuneReporter` does, for a trial that ends by itself: see `ConductorScheduler`."""

    journal: Path

    def report(self, config: TrialConfig, message: TrialMessage) -> Verdict:
        """Pass on one message, and read what was decided on it."""
        tune.report({MESSAGE_KEY: canonical_json(to_json(message))})
        if message.kind != "epoch":
            return Verdict.CONTINUE
        # Tune comes back from a report only when the driver has dealt with it.
        return verdict_on(read_journal(self.journal), config.trial_id, message.epoch)


def _trainable(tune_config: dict[str, Any], context: JobContext) -> None:
    try:
        _run(from_json(TrialConfig, tune_config[CONFIG_KEY]), context)
    except AutomlError as fault:
        tune.report({FAULT_KEY: str(fault)})


def _run(config: TrialConfig, context: JobContext) -> None:
    if context.experiment.train.workers == 1:
        run_trial(config, context, TuneReporter())
    else:
        reporter = GroupReporter(context.folder.journal_file)
        run_trial(config, context, reporter, train=train_in_worker_group)


class RayBackend:
    """Runs one Ray trial a configuration; connected by `connection.connect` before."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._on_gpu = trains_on_gpu(experiment.train)
        alive = [node for node in ray.nodes() if node["Alive"]]
        self._probe = find_probe(alive)
        training = [n for n in alive if self._probe is None or n["NodeID"] != self._probe.node_id]
        self._num_nodes = len(training)
        self._slots = slots_of(
            [node["Resources"] for node in training],
            workers=experiment.train.workers,
            on_gpu=self._on_gpu,
            wanted=experiment.search.concurrent,
        )
        self._stopwatch: Stopwatch = (
            StopwatchHere() if self._probe is None else probe_stopwatch(self._probe)
        )

    def describe(self) -> str:
        """One line for the user."""
        workers = self._experiment.train.workers
        group = f" of {workers} workers (DDP)" if workers > 1 else ""
        nodes = self._num_nodes
        device = "cuda" if self._on_gpu else "cpu"
        place = f"{device}: Ray on {nodes} node{'s' if nodes > 1 else ''}"
        return f"{place}, {self._slots.trials} trials at a time{group}"

    def threads_per_job(self) -> int:
        """The cores shared out over what runs at a time; on a CPU, many jobs of one thread each."""
        return self._slots.threads

    def stopwatch(self) -> Stopwatch:
        """The cluster's probe node where it has one; else each process times for itself."""
        return self._stopwatch

    def run_trials(self, conductor: Conductor, context: JobContext) -> None:
        """Run trials on Ray Tune until the conductor has no more."""
        door = Door(conductor)
        trainable = tune.with_resources(
            tune.with_parameters(_trainable, context=context), self._resources()
        )
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=tune.search.ConcurrencyLimiter(
                    ConductorSearcher(door), max_concurrent=self._slots.trials
                ),
                scheduler=ConductorScheduler(
                    door, trials_end_by_themselves=self._experiment.train.workers > 1
                ),
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(context.folder.ray),
                verbose=0,
                failure_config=tune.FailureConfig(
                    max_failures=self._experiment.search.max_failures
                ),
            ),
        )
        tuner.fit()
        # Everything of worth is in the journal and the trials' folders.
        shutil.rmtree(context.folder.ray, ignore_errors=True)
        if door.fault is not None:
            raise door.fault

    def map_jobs(
        self, job: Callable[[Item], Answer], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Answer | JobFault]]:
        """Run the jobs as Ray tasks; yields each as it ends."""
        num_gpus = 1 if self._on_gpu else 0
        task = ray.remote(num_cpus=self._slots.threads, num_gpus=num_gpus, max_retries=1)(job)
        waiting = {task.remote(item): item for item in items}
        while waiting:
            done, _ = ray.wait(list(waiting), num_returns=1)
            for reference in done:
                yield waiting.pop(reference), _answer(reference)

    def close(self) -> None:
        """Leave the cluster."""
        ray.shutdown()

    def _resources(self) -> tune.PlacementGroupFactory:
        if self._experiment.train.workers > 1:
            # The trial's own process only waits; its workers bring their resources themselves.
            return tune.PlacementGroupFactory([{"memory": 1}], **self._not_on_the_probe())
        bundle = {"CPU": float(self._slots.threads)}
        return tune.PlacementGroupFactory([{**bundle, "GPU": 1.0} if self._on_gpu else bundle])

    def _not_on_the_probe(self) -> dict[str, Any]:
        """For a trial's own process that asks for no CPU: it would fit on the probe node, too."""
        if self._probe is None:
            return {}
        return {"bundle_label_selector": [{"ray.io/node-id": f"!{self._probe.node_id}"}]}
