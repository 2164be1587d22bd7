"""What a plan takes for granted, in words: everything that nobody has measured."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from automl.measurement.pace import Probe
from automl.planning.cluster_file import ClusterFile
from automl.planning.estimate import Conditions
from automl.planning.machines import Machines
from automl.planning.prices import OLD_AFTER_DAYS, PriceList


def assumptions(
    probe: Probe, machines: Machines, conditions: Conditions, workers: int
) -> tuple[str, ...]:
    """What would change the plan if it were otherwise; `workers` are those of a trial."""
    return (
        *_of_speed(probe, machines, conditions, workers),
        *_of_course(probe),
        *_of_machines(machines),
    )


def _of_speed(
    probe: Probe, machines: Machines, conditions: Conditions, workers: int
) -> Iterator[str]:
    if not conditions.probed_there:
        low, high = conditions.speedup
        times = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        device = "GPU" if machines.on_gpu else "place"
        yield (
            f"a {device} of {machines.name} trains {times} times as fast as the probe did: "
            f"{probe.device}, {probe.threads} thread(s) of {probe.cpu}. Nobody has measured that"
        )
    if workers > 1:
        yield f"{workers} workers of a trial train {workers} times as fast as one"
    if machines.on_gpu and probe.device == "cpu":
        yield "exports and timings take as long on the machines' CPUs as here"


def _of_course(probe: Probe) -> Iterator[str]:
    share = 1 - len(probe.feasible) / len(probe.networks)
    yield (
        f"the networks of the space are like the {len(probe.networks)} that were probed; "
        f"{share:.0%} of these break a constraint"
    )
    yield (
        "accuracy follows a network's time with a correlation between 0 and 0.8; a student's epoch "
        "is one of its teacher's with a pass of the teacher"
    )


def _of_machines(machines: Machines) -> Iterator[str]:
    if machines.node_start_s > 0:
        yield (
            f"a machine works {machines.node_start_s / 60:g} min after it was asked for and goes "
            f"after {machines.idle_timeout_s / 60:g} idle ones; all are asked for at once, and come"
        )
    if machines.rates is not None:
        life_s = machines.mean_life_s
        yield (
            "no machine is lost"
            if life_s is None
            else f"a machine lives {life_s / 3600:g} h on average, then another one comes"
        )
        yield "disks, storage, traffic and taxes are not counted"


def price_warnings(prices: PriceList, cluster: ClusterFile, today: dt.date) -> tuple[str, ...]:
    """What speaks against the prices: their age, another region."""
    listed, found = prices.of_provider(cluster.provider), []
    age = listed.age_days(today)
    if age > OLD_AFTER_DAYS:
        found.append(
            f"{prices.path}: the prices of {cluster.provider} are {age} days old ({listed.date}): "
            f"look them up again at {listed.source}"
        )
    if age < 0:
        found.append(
            f"{prices.path}: the prices of {cluster.provider} are of {listed.date}, to come"
        )
    if cluster.region is not None and cluster.region != listed.region:
        found.append(
            f"{cluster.path} is in {cluster.region}; {prices.path} has the prices of "
            f"{listed.region}"
        )
    return tuple(found)
