"""Waiting for the workers of a cluster that grows by demand and may have none yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import ray
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from automl.distributed.cluster import Cluster, RayCluster
from automl.errors import UsageError
from automl.planning.groups import Group, group_of
from automl.planning.misfit import asked_of
from automl.space.experiment import Experiment

_POLL_S = 0.5
#: An autoscaler that had no machine for so long will not have one.
_SURE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an experiment needs at least: so many groups, a core for each worker."""

    group: Group
    trials: int

    @property
    def workers(self) -> int:
        """All workers together."""
        return self.trials * self.group.workers


def demand_of(experiment: Experiment) -> Wanted:
    """`search.concurrent` trials at a time, one where it is `auto`; GPUs where it says `cuda`."""
    wanted, train = experiment.search.concurrent, experiment.train
    return Wanted(
        group=group_of(train, on_gpu=train.device == "cuda"),
        trials=wanted if isinstance(wanted, int) else 1,
    )


def wait_for_workers(experiment: Experiment, longest_s: float) -> None:
    """Ask the cluster for what the experiment needs, and wait until it is there.

    The demand ends with this process, however it ends: nothing keeps machines after that.

    Raises:
        UsageError: the workers have not come in time, or the autoscaler has no machine for them.
    """
    wanted = demand_of(experiment)
    group = wanted.group
    asked = [
        placement_group(group.bundles(1), strategy=group.strategy) for _ in range(wanted.trials)
    ]
    refusal = Refusal(RayCluster(), group, clock=time.monotonic)
    try:
        _wait(asked, wanted, refusal, longest_s)
    finally:
        # Trials ask for themselves; workers that are there stay for the idle timeout.
        for each in asked:
            remove_placement_group(each)


class Refusal:
    """What an autoscaler has said for a while that it has no machines for.

    It says so, too, of what does not fit beside the work of others: that is a reason to wait.
    """

    def __init__(self, cluster: Cluster, group: Group, *, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._bundles = group.bundles(1)
        self._clock = clock
        self._since: float | None = None

    def groups_refused(self, *, others_at_work: bool) -> int:
        """Ask again; how many groups will find no machine, 0 while that is not sure."""
        autoscaler = self._cluster.read().autoscaler
        refused = 0 if autoscaler is None else autoscaler.refusals(self._bundles)
        if others_at_work or refused == 0:
            self._since = None
            return 0
        now = self._clock()
        self._since = now if self._since is None else self._since
        return refused if now - self._since >= _SURE_S else 0


def _wait(asked: list[PlacementGroup], wanted: Wanted, refusal: Refusal, longest_s: float) -> None:
    deadline = time.monotonic() + longest_s
    while (there := sum(_is_there(each) for each in asked)) < wanted.trials:
        if time.monotonic() >= deadline:
            raise UsageError(_too_late(wanted, longest_s))
        others = _others_at_work(wanted.group, there)
        if refused := refusal.groups_refused(others_at_work=others):
            raise UsageError(_refused(wanted, wanted.trials - refused))
        time.sleep(_POLL_S)


def _is_there(asked: PlacementGroup) -> bool:
    state: str = placement_group_table(asked)["state"]
    return state == "CREATED"


def _others_at_work(group: Group, groups_there: int) -> bool:
    """Whether more is taken than what these groups hold."""
    total, free = ray.cluster_resources(), ray.available_resources()
    held = group.worker(1)
    return any(
        total.get(kind, 0.0) - free.get(kind, 0.0) - groups_there * group.workers * amount > 0.5
        for kind, amount in held.items()
    )


def _too_late(wanted: Wanted, longest_s: float) -> str:
    kind = wanted.group.kind
    has = ray.cluster_resources().get(kind, 0.0)
    return (
        f"--wait-for-workers: given {longest_s:g} s; the cluster has {has:g} of {wanted.workers} "
        f"{kind}s by now: wait longer, ask for less by search.concurrent, or see "
        "`ray status` for why no machine comes"
    )


def _refused(wanted: Wanted, most: int) -> str:
    asked = asked_of(wanted.group, 1)
    if most > 0:
        return (
            f"search.concurrent: given {wanted.trials}; allowed here: at most {most}, what the "
            f"autoscaler of this Ray cluster has machines for, where a trial takes {asked}"
        )
    return (
        f"--wait-for-workers: the autoscaler of this Ray cluster has no machine for a trial, which "
        f"takes {asked}: no waiting brings it. Use fewer workers (--workers-per-trial), another "
        "train.placement, or give its file a larger kind of node or a larger max_workers"
    )
