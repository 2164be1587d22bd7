"""The backend on Ray: trials on Ray Tune, worker groups on Ray Train, other jobs as tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import ray

from automl.agent_stopwatch import AgentStopwatch
from automl.backend import JobFault
from automl.conductor.conductor import Conductor
from automl.distributed.devices import trains_on_gpu
from automl.distributed.probe import RESOURCE, ProbeNode, find_probe, probe_stopwatch
from automl.distributed.relay import relay_stopwatch
from automl.distributed.slots import slots_of
from automl.distributed.study_metrics import StudyMetrics
from automl.distributed.tune_run import TuneSettings, run_on_tune
from automl.distributed.worker_group import train_in_worker_group
from automl.errors import StudyError, UsageError
from automl.jobs.context import JobContext
from automl.jobs.stopwatch import Stopwatch, StopwatchHere
from automl.jobs.trial import run_trial
from automl.records import TrialConfig
from automl.reporting import Reporter
from automl.space.experiment import Experiment

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


def _run_one(config: TrialConfig, reporter: Reporter, *, context: JobContext) -> None:
    if context.experiment.train.workers == 1:
        run_trial(config, context, reporter)
    else:
        run_trial(config, context, reporter, train=train_in_worker_group)


def _metrics(conductor: Conductor, context: JobContext) -> StudyMetrics:
    fidelity = context.experiment.fidelity
    num_images = context.dataset().info.counts["train"]
    return StudyMetrics(
        context.study_root.name,
        conductor.plan,
        images_of=lambda epoch: round(num_images * fidelity.at(epoch).data_share),
        clock=time.time,
    )


def stopwatch_of(probe: ProbeNode | None, agent: AgentStopwatch | None) -> Stopwatch:
    """Who times on a cluster; raises UsageError where both would, StudyError without an answer."""
    if probe is not None and agent is not None:
        raise UsageError(
            f"--target: given {agent.agent.target} on a cluster whose node {probe.address} has the "
            f"resource {RESOURCE}; allowed: one of them, since times of two machines do not "
            "compare. Leave out --target, or stop that node (`ray stop`)"
        )
    if agent is not None:
        return relay_stopwatch(agent)
    return StopwatchHere() if probe is None else probe_stopwatch(probe)


class RayBackend:
    """Runs one Ray trial a configuration; connected by `connection.connect` before.

    With an `agent` latencies are measured there; a cluster with a node that times is refused then.
    """

    def __init__(self, experiment: Experiment, agent: AgentStopwatch | None = None) -> None:
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
        self._stopwatch = stopwatch_of(self._probe, agent)

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
        """The agent or the probe node where there is one; else each process times for itself."""
        return self._stopwatch

    def run_trials(self, conductor: Conductor, context: JobContext) -> None:
        """Run trials on Ray Tune until the conductor has no more."""
        in_groups = self._experiment.train.workers > 1
        settings = TuneSettings(
            resources=self._resources(),
            concurrent=self._slots.trials,
            max_failures=self._experiment.search.max_failures,
            storage=context.folder.ray,
            spared_node=None if self._probe is None else self._probe.node_id,
            journal=context.folder.journal_file if in_groups else None,
        )
        conductor.watch(_metrics(conductor, context))
        run_on_tune(conductor, partial(_run_one, context=context), settings)

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

    def _resources(self) -> dict[str, float]:
        if self._experiment.train.workers > 1:
            # The trial's own process only waits; its workers bring their resources themselves.
            return {"memory": 1.0}
        threads = {"CPU": float(self._slots.threads)}
        return {**threads, "GPU": 1.0} if self._on_gpu else threads
