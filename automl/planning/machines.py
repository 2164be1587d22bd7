"""On which machines a study is planned: what they hold, how they come and go, what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from automl.errors import UsageError
from automl.planning.cluster_file import ClusterFile, NodeType
from automl.planning.groups import group_of
from automl.planning.prices import InstancePrice, PriceList
from automl.planning.slots import Slots, slots_of
from automl.simulation.script import Crew
from automl.space.experiment import Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What an hour costs: of a training machine on each market, and of all that never trains."""

    currency: str
    cheapest: float
    preferred: float
    dearest: float
    standing: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """Machines of one kind. `resources` are one machine's, by Ray's names.

    `node_start_s` is what one takes from being asked for until it works; after `idle_timeout_s`
    without work it goes, but for `always_on` of them. `mean_life_s` is how long one lives before it
    is taken away; None: for ever.
    """

    name: str
    resources: Mapping[str, float]
    on_gpu: bool
    most_nodes: int | None = None
    node_start_s: float = 0.0
    idle_timeout_s: float = 0.0
    always_on: int = 0
    mean_life_s: float | None = None
    rates: Rates | None = None

    def slots(self, nodes: int, experiment: Experiment) -> Slots:
        """How many trials run on so many of them, as a search shares them out."""
        return slots_of(
            [self.resources] * nodes,
            group_of(experiment.train, on_gpu=self.on_gpu),
            wanted=experiment.search.concurrent,
        )

    def crew(self, nodes: int, slots: Slots, process_s: float) -> Crew:
        """The places of trials on them; a trial that takes several machines makes one of them."""
        units = min(nodes, slots.trials)
        return Crew(
            nodes=units,
            places=-(-slots.trials // units),
            most_trials=slots.trials,
            node_start_s=self.node_start_s,
            process_start_s=process_s,
            # Where any of the machines of a unit is lost, the unit is.
            mean_life_s=None if self.mean_life_s is None else self.mean_life_s * units / nodes,
        )


def machines_of(
    cluster: ClusterFile,
    prices: PriceList,
    training: tuple[NodeType, ...],
    *,
    node_start_s: float,
    mean_life_s: float | None,
) -> Machines:
    """The machines that a cluster file names, with their prices.

    Raises UsageError where a type has no price on the market that it is taken from, or other GPUs
    than the cluster file says.
    """
    first = training[0]
    each = [_hour(cluster, prices, node) for node in training]
    standing = sum(_hour(cluster, prices, node) for node in cluster.standing)
    standing_workers = len(cluster.standing) - 1
    most = min(sum(node.max_workers for node in training), cluster.max_workers - standing_workers)
    if most < 1:
        raise UsageError(
            f"{cluster.path}: max_workers: leaves no room for a machine that trains: given "
            f"{cluster.max_workers}, {standing_workers} of them for others"
        )
    return Machines(
        name=first.instance,
        resources=first.resources,
        on_gpu=first.on_gpu,
        most_nodes=most,
        node_start_s=node_start_s,
        idle_timeout_s=cluster.idle_timeout_s,
        always_on=sum(node.min_workers for node in training),
        mean_life_s=mean_life_s,
        rates=Rates(
            currency=prices.currency,
            cheapest=min(each),
            preferred=each[0],
            dearest=max(each),
            standing=standing,
        ),
    )


def _listed(cluster: ClusterFile, prices: PriceList, node: NodeType) -> InstancePrice:
    found = prices.price(cluster.provider, node.instance, asked_by=node.where)
    gpus = int(node.resources.get("GPU", 0))
    if node.trains and gpus > found.devices:
        raise UsageError(
            f"{cluster.path}: available_node_types.{node.name}.resources.GPU: given {gpus}; "
            f"allowed: at most {found.devices}, the devices of {node.instance} in {prices.path}"
        )
    return found


def _hour(cluster: ClusterFile, prices: PriceList, node: NodeType) -> float:
    price = _listed(cluster, prices, node)
    hour = price.spot if node.market == "spot" else price.on_demand
    if hour is None:
        raise UsageError(
            f"{prices.path}: {node.instance}: has no price for {node.market}, on which {node.name} "
            "is taken; add it there"
        )
    return hour
