"""What one trial takes of a cluster, and how many of those its nodes hold: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from automl.space.gpu_share import SHARES
from automl.space.training import Placement, TrainSettings

#: What one node offers, by Ray's names: CPU, GPU, memory, ...
Resources = Mapping[str, float]

#: Thirds of a GPU do not add up to exactly one.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One trial: `workers` processes, each with `gpus` of a GPU (0 on a CPU) on one node."""

    workers: int
    gpus: float = 0.0
    placement: Placement = "pack"

    @property
    def kind(self) -> Literal["CPU", "GPU"]:
        """What there are fewest of."""
        return "GPU" if self.gpus > 0 else "CPU"

    def worker(self, threads: int) -> dict[str, float]:
        """What each worker with so many CPU threads asks Ray for."""
        cpus = {"CPU": float(threads)}
        return {**cpus, "GPU": self.gpus} if self.gpus > 0 else cpus

    def bundles(self, threads: int) -> list[dict[str, float]]:
        """The same for all workers, as a placement group takes it."""
        return [self.worker(threads) for _ in range(self.workers)]

    def with_gpus(self, gpus: float) -> Group:
        """The same with another share of a GPU for each worker."""
        return replace(self, gpus=gpus)

    @property
    def strategy(self) -> str:
        """Ray's name of the placement."""
        return self.placement.upper()


def group_of(train: TrainSettings, *, on_gpu: bool) -> Group:
    """What each trial of an experiment takes; the least of a GPU where that is to be measured."""
    return Group(
        workers=train.workers,
        gpus=_least(train.gpu_share) if on_gpu else 0.0,
        placement=train.placement,
    )


def _least(share: Literal["auto"] | float) -> float:
    return min(SHARES) if share == "auto" else share


def workers_on(node: Resources, group: Group, threads: int) -> int:
    """How many workers with so many threads a node holds; each share of a GPU lies on one GPU."""
    by_cpu = int(node.get("CPU", 0.0)) // threads
    if group.gpus == 0:
        return by_cpu
    a_gpu = 1.0 / group.gpus
    by_gpu = int(node.get("GPU", 0.0)) * int(a_gpu + _ROUNDING)
    return min(by_cpu, by_gpu)


def groups_on(nodes: Sequence[Resources], group: Group, threads: int) -> int:
    """How many groups the nodes hold at a time, were they empty.

    `pack` and `spread` are wishes, so any nodes do; `strict_pack` needs one node for a whole
    group, `strict_spread` another one for each of its workers.
    """
    workers = [workers_on(node, group, threads) for node in nodes]
    if group.placement == "strict_pack":
        return sum(count // group.workers for count in workers)
    together = sum(workers) // group.workers
    if group.placement != "strict_spread":
        return together
    # So many groups fit as find a place for each worker where a node counts once for each group.
    fitting = range(together, 0, -1)
    return next((k for k in fitting if sum(min(w, k) for w in workers) >= k * group.workers), 0)


def most_workers(nodes: Sequence[Resources], group: Group) -> int:
    """The largest number of workers, of one thread each, with which one group would fit."""
    workers = [workers_on(node, group, 1) for node in nodes]
    if group.placement == "strict_pack":
        return max(workers, default=0)
    if group.placement == "strict_spread":
        return sum(count > 0 for count in workers)
    return sum(workers)
