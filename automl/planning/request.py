"""What a user asks of a plan, read and checked before any work starts."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path

from automl.errors import UsageError
from automl.planning.assumptions import price_warnings
from automl.planning.cluster_file import ClusterFile, NodeType, read_cluster_file
from automl.planning.machines import Machines, machines_of
from automl.planning.prices import PriceList, read_prices
from automl.space.fields import seconds_of

DEFAULT_NODES = (1, 2, 4, 8)
_SPEEDUP = re.compile(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A cluster with its prices, and the node types of it that train."""

    cluster: ClusterFile
    prices: PriceList
    training: tuple[NodeType, ...]
    machines: Machines

    @property
    def declared_speed(self) -> float | None:
        """What the file of prices says of the speed of a device."""
        return self.prices.price(
            self.cluster.provider, self.training[0].instance, asked_by=self.training[0].where
        ).speed


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What the user typed."""

    cluster: Path | None
    prices: Path | None
    nodes: str | None
    node_type: str | None
    speedup: str | None
    node_start: str
    node_life: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`nodes` is None where the user left them to us, as is `speedup`."""

    priced: Priced | None
    nodes: tuple[int, ...] | None
    speedup: tuple[float, float] | None
    warnings: tuple[str, ...] = ()

    @classmethod
    def parse(cls, options: PlanOptions) -> Request:
        """Read the options and the files that they name; raises UsageError."""
        priced = _priced(options)
        today = dt.datetime.now(tz=dt.UTC).date()
        return cls(
            priced=priced,
            nodes=None if options.nodes is None else _counts(options.nodes),
            speedup=None if options.speedup is None else _bounds(options.speedup),
            warnings=() if priced is None else price_warnings(priced.prices, priced.cluster, today),
        )

    def counts(self, most: int | None) -> tuple[int, ...]:
        """The numbers of machines to plan for; `most` is how many there may be."""
        if self.nodes is None:
            wanted = DEFAULT_NODES if self.priced is not None else (1,)
            return tuple(count for count in wanted if most is None or count <= most)
        too_many = [count for count in self.nodes if most is not None and count > most]
        if too_many:
            raise UsageError(
                f"--nodes: given {too_many[0]}; allowed: at most {most}, what max_workers of the "
                "cluster file leaves for training"
            )
        return self.nodes


def _priced(options: PlanOptions) -> Priced | None:
    node_start_s = _seconds("--node-start", options.node_start)
    life = options.node_life
    mean_life_s = None if life is None else _seconds("--node-life", life)
    if options.cluster is None:
        _refuse_without_cluster(options)
        return None
    cluster = read_cluster_file(options.cluster)
    beside = options.cluster.parent / "prices.yaml"
    prices = read_prices(beside if options.prices is None else options.prices)
    training = cluster.training(options.node_type)
    return Priced(
        cluster=cluster,
        prices=prices,
        training=training,
        machines=machines_of(
            cluster, prices, training, node_start_s=node_start_s, mean_life_s=mean_life_s
        ),
    )


def _refuse_without_cluster(options: PlanOptions) -> None:
    for name in ("prices", "node_type", "node_life"):
        if getattr(options, name) is not None:
            raise UsageError(
                f"--{name.replace('_', '-')}: only with --cluster, which it belongs to"
            )


def _seconds(option: str, text: str) -> float:
    try:
        return seconds_of(text)
    except ValueError as fault:
        raise UsageError(f"{option}: {fault}") from None


def _counts(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= 1000 for part in parts):
        raise UsageError(
            f"--nodes: given {text!r}; allowed: whole numbers from 1 to 1000, by comma: 1,2,4"
        )
    return tuple(sorted({int(part) for part in parts}))


def _bounds(text: str) -> tuple[float, float]:
    found = _SPEEDUP.fullmatch(text.strip())
    low = float(found[1]) if found else 0.0
    high = float(found[2]) if found and found[2] else low
    if not 0 < low <= high:
        raise UsageError(
            f"--speedup: given {text!r}; allowed: a number above 0, or a range from low to high, "
            "such as 6-12"
        )
    return low, high
