"""Waiting for the workers of a cluster that grows by demand and may have none yet."""

from __future__ import annotations

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from automl.errors import UsageError
from automl.space.experiment import Experiment


def demand_of(experiment: Experiment) -> list[dict[str, float]]:
    """What an experiment needs at least, worker by worker: a core each, and a GPU where it says so.

    That is `search.concurrent` trials at a time; one where it is `auto`.
    """
    wanted = experiment.search.concurrent
    trials = wanted if isinstance(wanted, int) else 1
    worker = {"CPU": 1.0}
    if experiment.train.device == "cuda":
        worker["GPU"] = 1.0
    return [dict(worker) for _ in range(trials * experiment.train.workers)]


def wait_for_workers(experiment: Experiment, longest_s: float) -> None:
    """Ask the cluster for what the experiment needs, and wait until it is there.

    The demand ends with this process, however it ends: nothing keeps machines after that.

    Raises:
        UsageError: the workers have not come in time.
    """
    demand = demand_of(experiment)
    group = placement_group(demand, strategy="PACK")
    try:
        is_there = group.wait(timeout_seconds=longest_s)
    finally:
        # Trials ask for themselves; workers that are there stay for the idle timeout.
        remove_placement_group(group)
    if not is_there:
        kind = "GPU" if "GPU" in demand[0] else "CPU"
        has = ray.cluster_resources().get(kind, 0.0)
        raise UsageError(
            f"--wait-for-workers: given {longest_s:g} s; the cluster has {has:g} of {len(demand)} "
            f"{kind}s by now: wait longer, ask for less by search.concurrent, or see "
            "`ray status` for why no machine comes"
        )
