"""The node of a cluster that times networks, one at a time and never beside training.

A node that holds the resource `latency_probe` has no CPUs for trials. Files reach it through Ray,
so it needs no file system in common with the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from automl.distributed.carried import Carried, received, sent
from automl.errors import AutomlError, StudyError, TrialError, UsageError
from automl.jobs.stopwatch import Timing, time_files
from automl.measurement.latency import LatencyStats
from automl.measurement.processor import cpu_model

RESOURCE = "latency_probe"
#: What Ray's own `ray.nodes()` says of one node.
Node = Mapping[str, Any]

_START = f"ray start --address <head> --num-cpus 0 --resources '{{\"{RESOURCE}\": 1}}'"
#: How long the node may take to say what it is; its first process has to start.
_FIRST_ANSWER_S = 60.0
#: How long a timing may take with all that wait before it: some seconds for each running trial.
#: Ray tells of a node that has gone long before.
_ANSWER_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeNode:
    """The node that times. `amount` of the resource is all that it has: one timing takes it all."""

    node_id: str
    address: str
    amount: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeStopwatch:
    """Times on the probe node; goes to jobs as it is, and works in any process of the cluster."""

    node: ProbeNode
    processor: str

    def describe(self) -> str:
        """Where it times, for the user."""
        return f"on the {RESOURCE} node {self.node.address} ({self.processor}), one at a time"

    def cpu(self) -> str:
        """The processor of the node."""
        return self.processor

    def time(self, artifacts: Mapping[str, Path], timing: Timing) -> dict[str, LatencyStats]:
        """Time each file on the node; waits until it is free.

        Raises:
            StudyError: the node has gone, or does not answer.
            TrialError: the process that timed was lost twice, as when memory runs out.
        """
        stats: dict[str, LatencyStats] = _answer(
            self.node, _on(self.node, _time).remote(sent(artifacts), timing), _ANSWER_S
        )
        return stats


def find_probe(nodes: Sequence[Node]) -> ProbeNode | None:
    """The probe node among those of `ray.nodes()`, or None.

    Raises:
        UsageError: there are several, or it has CPUs for trials.
    """
    probes = [node for node in nodes if node["Alive"] and node["Resources"].get(RESOURCE, 0) > 0]
    if not probes:
        return None
    places = ", ".join(sorted(node["NodeManagerAddress"] for node in probes))
    if len(probes) > 1:
        raise UsageError(
            f"this Ray cluster: given {len(probes)} nodes with the resource {RESOURCE} ({places}); "
            "allowed: 1, since times of different machines do not compare. Stop the others "
            "(`ray stop`), or start them without it"
        )
    cpus = probes[0]["Resources"].get("CPU", 0)
    if cpus > 0:
        raise UsageError(
            f"this Ray cluster: node {places} has the resource {RESOURCE} and, given, {cpus:g} "
            "CPUs; allowed: 0, since a timing beside training measures both. Start it again: "
            f"{_START}"
        )
    (probe,) = probes
    return ProbeNode(node_id=probe["NodeID"], address=places, amount=probe["Resources"][RESOURCE])


def probe_stopwatch(node: ProbeNode) -> ProbeStopwatch:
    """The stopwatch of a node; raises StudyError where it does not answer."""
    processor = _answer(node, _on(node, cpu_model).remote(), _FIRST_ANSWER_S)
    return ProbeStopwatch(node=node, processor=processor)


def _on(node: ProbeNode, function: Any) -> Any:
    """The function as a task that runs on this node, alone."""
    return ray.remote(
        num_cpus=0,
        resources={RESOURCE: node.amount},
        # Also from within a trial, whose own placement group does not hold the node.
        scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False),
        max_retries=1,
    )(function)


def _time(files: Carried, timing: Timing) -> dict[str, LatencyStats]:
    """Time files that came as references to their bytes; runs on the node."""
    with received(files) as artifacts:
        return time_files(artifacts, timing)


def _answer(node: ProbeNode, reference: ray.ObjectRef, longest_s: float) -> Any:
    try:
        return ray.get(reference, timeout=longest_s)
    except ray.exceptions.RayTaskError as fault:
        if isinstance(fault.cause, AutomlError):
            raise fault.cause from fault
        raise
    except ray.exceptions.GetTimeoutError as fault:
        ray.cancel(reference, force=True)
        raise _gone(node, f"has not answered for {longest_s:.0f} s") from fault
    except ray.exceptions.RayError as fault:
        if _is_alive(node):
            told = str(fault).splitlines()[0]
            raise TrialError(f"the timing on node {node.address} was lost: {told}") from fault
        raise _gone(node, "has left the cluster") from fault


def _gone(node: ProbeNode, what: str) -> StudyError:
    return StudyError(
        f"the {RESOURCE} node {node.address} {what}, so no latency can be measured; what is "
        f"finished is kept. Start it again ({_START}): the same command then continues the study"
    )


def _is_alive(node: ProbeNode) -> bool:
    return any(other["NodeID"] == node.node_id and other["Alive"] for other in ray.nodes())
