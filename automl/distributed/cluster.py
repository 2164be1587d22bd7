"""A cluster as it is now: its nodes, those that are about to go, and what could still come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import ray
from ray._private.state import state
from ray._private.worker import global_worker
from ray.core.generated import autoscaler_pb2

from automl.errors import StudyError

#: What a placement group asks for, worker by worker.
Bundles = Sequence[Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node that is alive; one that is `leaving` takes no new work and will be gone soon."""

    node_id: str
    address: str
    resources: Mapping[str, float]
    leaving: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaler:
    """What an autoscaler says of itself: the placement groups that it has no machines for."""

    refused: tuple[Bundles, ...] = ()

    def refusals(self, bundles: Bundles) -> int:
        """How many groups of this form wait for machines that will not come."""
        return sum(_form(other) == _form(bundles) for other in self.refused)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """The nodes for trials; `autoscaler` is None where none tells what it does."""

    nodes: tuple[Node, ...]
    autoscaler: Autoscaler | None = None

    def staying(self) -> list[Mapping[str, float]]:
        """What the nodes offer that take new work."""
        return [node.resources for node in self.nodes if not node.leaving]


class Cluster(Protocol):
    """Something to ask again and again."""

    def read(self) -> ClusterState:
        """The state now; raises StudyError where the cluster does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCluster:
    """The cluster that this process is connected to, without the node that times."""

    spared_node: str | None = None

    def read(self) -> ClusterState:
        """Ask Ray."""
        try:
            return self._read()
        except ray.exceptions.RayError as fault:
            raise StudyError(f"the Ray cluster does not answer: {fault}") from fault

    def _read(self) -> ClusterState:
        leaving = leaving_nodes()
        nodes = [
            Node(
                node_id=node["NodeID"],
                address=node["NodeManagerAddress"],
                resources=node["Resources"],
                leaving=node["NodeID"] in leaving,
            )
            for node in ray.nodes()
            if node["Alive"] and node["NodeID"] != self.spared_node
        ]
        return ClusterState(nodes=tuple(nodes), autoscaler=_autoscaler())


def leaving_nodes() -> frozenset[str]:
    """The nodes that Ray was told would go: preempted ones, and idle ones that are given back.

    Ray's own trainers learn of it by the same call; there is no public one.
    """
    return frozenset(state.get_draining_nodes())


def _autoscaler() -> Autoscaler | None:
    client: Any = global_worker.gcs_client
    return autoscaler_of(
        autoscaler_pb2.GetClusterStatusReply.FromString(client.get_cluster_status())
    )


def autoscaler_of(reply: Any) -> Autoscaler | None:
    """What the autoscaler has last written of itself into Ray's state; None where it has not.

    A cluster that was put together by hand may have a process that only watches, and writes of
    every group that it has no machine for it. Its nodes have no names in a cloud.
    """
    told, nodes = reply.autoscaling_state, reply.cluster_resource_state.node_states
    if not told.autoscaler_state_version or not any(node.instance_id for node in nodes):
        return None
    refused = told.infeasible_gang_resource_requests
    return Autoscaler(
        refused=tuple(
            [dict(request.resources_bundle) for request in gang.requests] for gang in refused
        )
    )


def _form(bundles: Bundles) -> list[list[tuple[str, float]]]:
    return sorted(sorted(bundle.items()) for bundle in bundles)
