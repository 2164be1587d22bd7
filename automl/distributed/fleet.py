"""How many trials may run at a time, while the nodes of a cluster come and go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from automl.distributed.cluster import Cluster, ClusterState
from automl.errors import StudyError
from automl.planning.groups import Group, groups_on
from automl.planning.misfit import asked_of, offered_by

#: How old an answer of the cluster may be.
_FRESH_S = 2.0
#: How long it may be that no node holds a trial before it is said, and how often it is repeated.
_PATIENCE_S = 15.0
_REPEAT_S = 600.0


class Fleet(Protocol):
    """What runs trials."""

    def places(self) -> int:
        """How many trials may run, or wait for their machines, now."""

    def is_leaving(self, node_id: str) -> bool:
        """Whether this node will soon be gone."""


@dataclass(frozen=True, slots=True)
class FixedFleet:
    """So many places, now and later."""

    count: int

    def places(self) -> int:
        """The count."""
        return self.count

    def is_leaving(self, node_id: str) -> bool:
        """Nothing leaves."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a search asks a cluster for: so many of these groups, with so many threads a worker."""

    group: Group
    threads: int
    wanted: int | Literal["auto"]


class ElasticFleet:
    """The places of a cluster, counted anew as nodes come and go; threads stay as they are.

    An autoscaler is asked for machines by trials that wait. So where there is one, as many may
    wait as the search wants, until it says that it has none for more.
    """

    def __init__(
        self,
        cluster: Cluster,
        demand: Demand,
        *,
        clock: Callable[[], float],
        say: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._demand = demand
        self._clock = clock
        self._say = say
        self._read_at = clock()
        self._state = cluster.read()
        self._told = self._usable()
        self._leaving = self._leaving_now()
        self._without_places_since: float | None = None
        self._said_at: float | None = None

    def places(self) -> int:
        """At least one, so that a trial waits for the next node."""
        self._refresh()
        wanted = self._demand.wanted
        return wanted if wanted != "auto" and self._may_grow() else max(1, self._usable())

    def is_leaving(self, node_id: str) -> bool:
        """Whether Ray was told that the node would go."""
        self._refresh()
        return node_id in self._leaving

    # ------------------------------------------------------------------ what is known

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._read_at < _FRESH_S:
            return
        self._read_at = now
        try:
            self._state = self._cluster.read()
        except StudyError:
            return  # Its head may be back soon; until then it is what it was.
        self._tell_who_leaves()
        self._tell_how_many(now)

    def _fitting(self) -> int:
        return groups_on(self._state.staying(), self._demand.group, self._demand.threads)

    def _usable(self) -> int:
        fitting, wanted = self._fitting(), self._demand.wanted
        return fitting if wanted == "auto" else min(fitting, wanted)

    def _leaving_now(self) -> dict[str, str]:
        return {node.node_id: node.address for node in self._state.nodes if node.leaving}

    def _may_grow(self) -> bool:
        autoscaler, demand = self._state.autoscaler, self._demand
        bundles = demand.group.bundles(demand.threads)
        return autoscaler is not None and autoscaler.refusals(bundles) == 0

    # ------------------------------------------------------------------ what is said

    def _tell_who_leaves(self) -> None:
        before, self._leaving = self._leaving, self._leaving_now()
        for address in [self._leaving[node] for node in self._leaving.keys() - before.keys()]:
            self._say(
                f"cluster  node {address} is about to go: its trials move at the end of "
                "their epoch, and none starts there"
            )

    def _tell_how_many(self, now: float) -> None:
        if self._fitting() == 0:
            self._tell_of_none(now)
            return
        self._without_places_since = self._said_at = None
        usable = self._usable()
        if usable != self._told:
            nodes = sum(not node.leaving for node in self._state.nodes)
            self._say(f"cluster  {_counted(nodes, 'node')}: room for {_counted(usable, 'trial')}")
            self._told = usable

    def _tell_of_none(self, now: float) -> None:
        """Rarely, and only where no machine is on its way."""
        if self._without_places_since is None:
            self._without_places_since = now
        waited = now - self._without_places_since
        is_due = self._said_at is None or now - self._said_at >= _REPEAT_S
        if waited < _PATIENCE_S or self._may_grow() or not is_due:
            return
        self._said_at, self._told = now, 0
        self._say(f"cluster  {_why_none(self._state, self._demand)}")


def _why_none(state: ClusterState, demand: Demand) -> str:
    cause = (
        "no autoscaler is known of"
        if state.autoscaler is None
        else "the autoscaler has no machine for it"
    )
    return (
        f"no node can run a trial now: it takes {asked_of(demand.group, demand.threads)}; "
        f"{offered_by(state.staying(), demand.group)}, and {cause}. Waiting for a node; Ctrl-C "
        "stops, and the same command continues the study"
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
