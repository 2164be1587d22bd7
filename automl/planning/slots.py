"""How many trials a cluster runs at a time, and with how many CPU threads each worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from automl.errors import UsageError

#: What one node offers, by Ray's names: CPU, GPU, memory, ...
Resources = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Slots:
    """`trials` at a time, each worker of which has `threads` CPU threads."""

    trials: int
    threads: int


def slots_of(
    nodes: Sequence[Resources], *, workers: int, on_gpu: bool, wanted: int | Literal["auto"]
) -> Slots:
    """Share out the nodes: a worker takes its threads, and its GPU, from one node.

    A GPU each, or else one CPU thread each, as many trials as fit or are wanted; then as many
    threads as the nodes give to each of their workers.

    Raises:
        UsageError: not even one trial fits.
    """
    places = sum(_places(node, 1, on_gpu=on_gpu) for node in nodes)
    if places < workers:
        kind = "GPU" if on_gpu else "CPU"
        raise UsageError(
            f"train.workers: given {workers}; allowed here: at most {places}, "
            f"the {kind}s of this Ray cluster; workers that come by demand need --wait-for-workers"
        )
    fitting = places // workers
    trials = fitting if wanted == "auto" else min(wanted, fitting)
    threads = 1
    while sum(_places(node, threads + 1, on_gpu=on_gpu) for node in nodes) >= trials * workers:
        threads += 1
    return Slots(trials, threads)


def _places(node: Resources, threads: int, *, on_gpu: bool) -> int:
    """How many workers with so many threads a node holds."""
    by_cpu = int(node.get("CPU", 0.0)) // threads
    return min(by_cpu, int(node.get("GPU", 0.0))) if on_gpu else by_cpu
