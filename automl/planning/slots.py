"""How many trials a cluster runs at a time, and with how many CPU threads each worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from automl.errors import UsageError
from automl.planning.groups import Group, Resources, groups_on
from automl.planning.misfit import why_none_fits


@dataclass(frozen=True, slots=True)
class Slots:
    """`trials` at a time, each worker of which has `threads` CPU threads."""

    trials: int
    threads: int


def slots_of(nodes: Sequence[Resources], group: Group, *, wanted: int | Literal["auto"]) -> Slots:
    """Share out the nodes: a worker takes its threads, and its part of a GPU, from one node.

    As many trials as fit with one CPU thread a worker, or are wanted; then as many threads as the
    nodes give to each worker of that many trials.

    Raises:
        UsageError: not even one trial fits.
    """
    fitting = groups_on(nodes, group, 1)
    if fitting == 0:
        raise UsageError(
            why_none_fits(nodes, group) + "; workers that come by demand need --wait-for-workers"
        )
    trials = fitting if wanted == "auto" else min(wanted, fitting)
    threads = 1
    while groups_on(nodes, group, threads + 1) >= trials:
        threads += 1
    return Slots(trials, threads)
