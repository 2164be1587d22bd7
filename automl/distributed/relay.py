"""The way to an agent from a cluster: one process, on the machine that started the search.

That machine has the token file and the way to the device, such as an SSH tunnel, which the nodes
that train need not have. Timings wait for one another there, in the order in which they were asked
for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from automl.agent_stopwatch import AgentStopwatch
from automl.distributed.carried import Carried, received, sent
from automl.errors import AutomlError, StudyError
from automl.jobs.stopwatch import Timing
from automl.measurement.latency import LatencyStats


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStopwatch:
    """Times by an agent through `relay`; goes to jobs as it is, in any process of the cluster."""

    stopwatch: AgentStopwatch
    relay: Any

    def describe(self) -> str:
        """Where it times, for the user."""
        return self.stopwatch.describe()

    def cpu(self) -> str:
        """The processor of the device."""
        return self.stopwatch.cpu()

    def time(self, artifacts: Mapping[str, Path], timing: Timing) -> dict[str, LatencyStats]:
        """Time each file by the agent, after what was asked for before.

        Raises:
            StudyError: the agent does not answer any more, or the relay is lost.
            TrialError: the agent cannot time these files.
        """
        try:
            stats: dict[str, LatencyStats] = ray.get(
                self.relay.time.remote(sent(artifacts), timing)
            )
        except ray.exceptions.RayTaskError as fault:
            if isinstance(fault.cause, AutomlError):
                raise fault.cause from fault
            raise
        except ray.exceptions.RayError as fault:
            told = str(fault).splitlines()[0]
            raise StudyError(
                f"the process that asks the agent {self.stopwatch.agent.target} was lost: {told}; "
                "what is finished is kept: the same command goes on"
            ) from fault
        return stats


def relay_stopwatch(stopwatch: AgentStopwatch) -> RelayStopwatch:
    """Start the relay on this machine; it ends with the connection to Ray."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    relay = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=1, scheduling_strategy=here)(
        _Relay
    )
    return RelayStopwatch(stopwatch=stopwatch, relay=relay.remote(stopwatch))


class _Relay:
    """One call at a time, so that the agent is busy for strangers alone."""

    def __init__(self, stopwatch: AgentStopwatch) -> None:
        self._stopwatch = stopwatch

    def time(self, files: Carried, timing: Timing) -> dict[str, LatencyStats]:
        with received(files) as artifacts:
            return self._stopwatch.time(artifacts, timing)
