"""The backend on Ray: trials on Ray Tune, worker groups on Ray Train, other jobs as tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import ray

from automl.agent_stopwatch import AgentStopwatch
from automl.backend import JobFault, Say
from automl.conductor.conductor import Conductor
from automl.distributed.cluster import RayCluster
from automl.distributed.devices import trains_on_gpu
from automl.distributed.fleet import Demand, ElasticFleet
from automl.distributed.gpu_sharing import cap_memory, narrowed
from automl.distributed.probe import RESOURCE, ProbeNode, find_probe, probe_stopwatch
from automl.distributed.relay import relay_stopwatch
from automl.distributed.study_metrics import StudyMetrics
from automl.distributed.tune_run import TuneSettings, run_on_tune
from automl.distributed.worker_group import train_in_worker_group
from automl.errors import StudyError, UsageError
from automl.jobs.context import JobContext
from automl.jobs.stopwatch import Stopwatch, StopwatchHere
from automl.jobs.trial import run_trial
from automl.planning.groups import Group, group_of
from automl.planning.plan import bill_of, read_plan
from automl.planning.slots import slots_of
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


def _run_one(
    config: TrialConfig, reporter: Reporter, *, context: JobContext, gpu_share: float
) -> None:
    cap_memory(gpu_share)
    if context.experiment.train.workers == 1:
        run_trial(config, context, reporter)
    else:
        run_trial(config, context, reporter, train=train_in_worker_group)


def _held_by(group: Group, threads: int) -> dict[str, float]:
    """What the process of a trial holds."""
    if group.workers > 1:
        # It only waits; its workers bring their resources themselves.
        return {"memory": 1.0}
    return group.worker(threads)


def _metrics(conductor: Conductor, context: JobContext, trials_at_a_time: int) -> StudyMetrics:
    plan = read_plan(context.folder.plan_file)
    fidelity = context.experiment.fidelity
    num_images = context.dataset().info.counts["train"]
    return StudyMetrics(
        context.study_root.name,
        conductor.plan,
        images_of=lambda epoch: round(num_images * fidelity.at(epoch).data_share),
        clock=time.time,
        bill=bill_of(plan, context.experiment.key(), trials_at_a_time),
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
        self._probe = find_probe([node for node in ray.nodes() if node["Alive"]])
        spared = None if self._probe is None else self._probe.node_id
        self._cluster = RayCluster(spared_node=spared)
        nodes = self._cluster.read().staying()
        self._num_nodes = len(nodes)
        self._group = group_of(experiment.train, on_gpu=self._on_gpu)
        self._slots = slots_of(nodes, self._group, wanted=experiment.search.concurrent)
        self._stopwatch = stopwatch_of(self._probe, agent)

    def describe(self) -> str:
        """One line for the user."""
        workers = self._experiment.train.workers
        group = f" of {workers} workers (DDP)" if workers > 1 else ""
        nodes = self._num_nodes
        device = "cuda" if self._on_gpu else "cpu"
        place = f"{device}: Ray on {nodes} node{'s' if nodes > 1 else ''}"
        wanted, trials = self._experiment.search.concurrent, self._slots.trials
        more = f", up to {wanted} as nodes come" if wanted != "auto" and wanted > trials else ""
        is_open = self._on_gpu and self._experiment.train.gpu_share == "auto"
        most = "up to " if is_open else ""
        return f"{place}, {most}{trials} trials at a time{group}{more}"

    def threads_per_job(self) -> int:
        """The cores shared out over what runs at a time; on a CPU, many jobs of one thread each."""
        return self._slots.threads

    def stopwatch(self) -> Stopwatch:
        """The agent or the probe node where there is one; else each process times for itself."""
        return self._stopwatch

    def uses_other_machines(self) -> bool:
        """Also where there is one node by now: others may join, unless it was started here."""
        is_of_this_machine = ray.get_runtime_context().gcs_address.startswith("127.")
        return not is_of_this_machine or len(ray.nodes()) > 1

    def run_trials(self, conductor: Conductor, context: JobContext, say: Say) -> None:
        """Run trials on Ray Tune until the conductor has no more."""
        in_groups = self._experiment.train.workers > 1
        group, measured = narrowed(self._group, context)
        if measured is not None:
            say(measured)
        demand = Demand(
            group=group,
            threads=self._slots.threads,
            wanted=self._experiment.search.concurrent,
        )
        settings = TuneSettings(
            resources=_held_by(group, self._slots.threads),
            fleet=ElasticFleet(self._cluster, demand, clock=time.monotonic, say=say),
            max_failures=self._experiment.search.max_failures,
            storage=context.folder.ray,
            spared_node=self._cluster.spared_node,
            events=partial(JobContext.events, context) if in_groups else None,
        )
        conductor.watch(_metrics(conductor, context, self._slots.trials))
        run_on_tune(conductor, partial(_run_one, context=context, gpu_share=group.gpus), settings)

    def map_jobs(
        self, job: Callable[[Item], Answer], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Answer | JobFault]]:
        """Run the jobs as Ray tasks; yields each as it ends."""
        # Teachers and students lie beside each other: such a job has a GPU to itself.
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
