"""Trials that leave a node which is about to go: at the end of an epoch, with a checkpoint behind.

A trial says with each message on which node it is. One in a single process is stopped by the
driver and goes on elsewhere as a new trial of Tune's. A group is not Tune's to stop: its trial
looks by itself whether one of its nodes leaves, ends the group as for a pause, and says that it
moves.
"""

from __future__ import annotations

from collections.abc import Iterable

import ray
from ray import tune

from automl.distributed.cluster import leaving_nodes

#: The node of the trial's process, in each of Tune's results.
NODE_KEY = "trial_node"
#: In place of a message: the trial's group has ended, because one of its nodes is about to go.
MOVES_KEY = "trial_moves"


def this_node() -> str:
    """Ray's id of the node of this process."""
    node: str = ray.get_runtime_context().get_node_id()
    return node


def one_is_leaving(nodes: Iterable[str]) -> bool:
    """Whether any of these nodes is about to go, as far as the cluster answers."""
    try:
        return not leaving_nodes().isdisjoint(nodes)
    except ray.exceptions.RayError:
        return False


def tell_that_it_moves() -> None:
    """Say so from a trial's own process; the trial then ends without an end in the journal."""
    tune.report({MOVES_KEY: True, NODE_KEY: this_node()})
