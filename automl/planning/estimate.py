"""From a probe to what a study takes: many simulated courses for each number of machines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from automl.measurement.pace import Probe
from automl.planning.after_search import after_search, makespan_s
from automl.planning.drawing import Course
from automl.planning.machines import Machines
from automl.planning.plan import QUANTILES, Money, Option, Range
from automl.ranking import knee, pareto_front
from automl.simulation.engine import SimulatedClock, simulate
from automl.simulation.script import Outcome
from automl.simulation.searching import conductor_of, stood_in
from automl.space.experiment import Experiment
from automl.space.search_plan import plan_of

#: Simulated courses: many where trials are few, fewer where each course takes long.
_MOST, _FEWEST, _TRIALS = 100, 20, 2400


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What is taken for granted. `speedup`: of a device over the probe's, its bounds.

    Where the probe ran on the machines themselves, nothing is taken for granted of their speed.
    """

    speedup: tuple[float, float]
    probed_there: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.speedup
        if not 0 < low <= high:
            raise ValueError(f"speedup must rise from above 0, got {self.speedup}")


def num_simulations(experiment: Experiment) -> int:
    """How many courses of a study are simulated for each number of machines."""
    return max(_FEWEST, min(_MOST, _TRIALS // experiment.search.trials))


def estimate(
    experiment: Experiment,
    probe: Probe,
    machines: Machines,
    conditions: Conditions,
    *,
    node_counts: Sequence[int],
    tell: Callable[[int], None],
) -> tuple[Option, ...]:
    """An option for each number of machines; `tell` hears which one is being simulated.

    The courses are the same for each of them, so that their differences are not chance.
    """
    options = []
    for nodes in node_counts:
        tell(nodes)
        courses = [
            _simulated(experiment, probe, machines, conditions, nodes, index)
            for index in range(num_simulations(experiment))
        ]
        options.append(_option(courses, experiment, machines, nodes))
    return _with_notes(options)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Took:
    """What one course of the study took; seconds, and node-seconds that are paid for."""

    search_s: float
    after_s: float
    trial_s: float
    epochs: float
    utilisation: float
    node_s: float

    @property
    def wall_s(self) -> float:
        return self.search_s + self.after_s


def _simulated(
    experiment: Experiment,
    probe: Probe,
    machines: Machines,
    conditions: Conditions,
    nodes: int,
    index: int,
) -> _Took:
    real = plan_of(experiment)
    plan, slots = stood_in(real), machines.slots(nodes, experiment)
    seed = (conditions.seed, index)
    course = Course(plan, probe, speedup=conditions.speedup, seed=seed)
    clock = SimulatedClock()
    outcome = simulate(
        conductor_of(plan, clock),
        course.script,
        machines.crew(nodes, slots, probe.process_s),
        clock=clock,
        rng=np.random.default_rng((*seed, 2)),
    )
    networks = [course.network(number) for number in range(experiment.search.trials)]
    then = after_search(experiment, networks, probe.images, np.random.default_rng((*seed, 3)))
    screen_s = _screen_s(experiment, probe, slots.trials)
    jobs_s = makespan_s(then.compress_s, slots.trials)
    again_s = makespan_s(then.again_s, slots.trials)
    search_s, after_s = screen_s + outcome.makespan_s, jobs_s + then.rank_s + again_s
    busy_until_s = [search_s + jobs_s, search_s + after_s if then.again_s else 0.0]
    working = max(len(then.compress_s), len(then.again_s))
    paid = _Paid(
        machines=machines,
        nodes_a_unit=nodes / min(nodes, slots.trials),
        screen_s=screen_s,
        last_job_s=max(busy_until_s),
        units_in_jobs=min(nodes, slots.trials, -(-working * nodes // slots.trials)),
        end_s=search_s + after_s,
    )
    return _Took(
        search_s=search_s,
        after_s=after_s,
        trial_s=outcome.trial_s * experiment.train.workers,
        epochs=_full_epochs(outcome, experiment),
        utilisation=outcome.utilisation,
        node_s=paid.seconds(outcome),
    )


def _full_epochs(outcome: Outcome, experiment: Experiment) -> float:
    """Epochs in full ones; at a lower fidelity, each counts as much as those of the plan do."""
    plan = plan_of(experiment)
    return sum(plan.epoch_cost(epoch) * count for epoch, count in outcome.epochs_by_number.items())


def _screen_s(experiment: Experiment, probe: Probe, places: int) -> float:
    """The pre-screen builds, exports and times each network of its pool."""
    screen = experiment.search.screen
    if screen is None:
        return 0.0
    setup_s = float(np.mean([network.setup_s for network in probe.networks]))
    return makespan_s([setup_s] * screen.pool, places)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paid:
    """How long machines are paid for: from being asked for until they have been idle too long.

    Those that a later job needs stay, and those that are always on do to the end. A machine that is
    idle for longer in between would go and come back: it is counted as staying.
    """

    machines: Machines
    nodes_a_unit: float
    screen_s: float
    last_job_s: float
    units_in_jobs: int
    end_s: float

    def seconds(self, outcome: Outcome) -> float:
        lost = sum(span.ended_s - span.asked_s for span in outcome.spans if span.was_lost)
        last = sorted(
            (span for span in outcome.spans if not span.was_lost),
            key=lambda span: -span.last_used_s,
        )
        total = lost
        for place, span in enumerate(last):
            used_s = self.screen_s + span.last_used_s
            if place < self.units_in_jobs:
                used_s = max(used_s, self.last_job_s)
            until_s = used_s + self.machines.idle_timeout_s
            if place < self.machines.always_on:
                until_s = max(until_s, self.end_s)
            total += until_s - span.asked_s
        return total * self.nodes_a_unit


def _option(
    courses: Sequence[_Took], experiment: Experiment, machines: Machines, nodes: int
) -> Option:
    slots = machines.slots(nodes, experiment)
    devices = slots.trials * experiment.train.workers
    node_hours = [took.node_s / 3600 for took in courses]
    return Option(
        nodes=nodes,
        trials_at_a_time=slots.trials,
        wall_s=_range([took.wall_s for took in courses]),
        search_s=_range([took.search_s for took in courses]),
        after_s=_range([took.after_s for took in courses]),
        epochs=_range([took.epochs for took in courses]),
        device_hours=_range([took.trial_s / 3600 for took in courses]),
        node_hours=_range(node_hours),
        utilisation=float(np.median([took.utilisation for took in courses])),
        money=_money(courses, node_hours, machines, nodes / devices),
    )


def _money(
    courses: Sequence[_Took],
    node_hours: Sequence[float],
    machines: Machines,
    nodes_a_device: float,
) -> Money | None:
    rates = machines.rates
    if rates is None:
        return None
    # The head comes first, and stays until the last machine has gone.
    around_s = machines.node_start_s + machines.idle_timeout_s
    standing = np.array([(took.wall_s + around_s) / 3600 * rates.standing for took in courses])
    hours = np.array(node_hours)
    low, mid, high = (
        _range((hours * hour + standing).tolist())
        for hour in (rates.cheapest, rates.preferred, rates.dearest)
    )
    return Money(
        currency=rates.currency,
        total=Range(low=low.low, mid=mid.mid, high=high.high),
        standing=float(np.median(standing)),
        device_hour=rates.preferred * nodes_a_device,
    )


def _range(values: Sequence[float]) -> Range:
    low, mid, high = (float(value) for value in np.quantile(values, QUANTILES))
    return Range(low=low, mid=mid, high=high)


def _with_notes(options: Sequence[Option]) -> tuple[Option, ...]:
    """Which option is a sound compromise of time and money, and which one another beats in both."""
    if any(option.money is None for option in options):
        return tuple(options)
    rows = [_losses(option) for option in options]
    front = pareto_front(rows)
    chosen = front[knee([rows[index] for index in front])]
    notes = {
        index: "" if index in front else "another is quicker and costs less"
        for index in range(len(options))
    }
    if len(front) > 1:
        notes[chosen] = "knee"
    return tuple(replace(option, note=notes[index]) for index, option in enumerate(options))


def _losses(option: Option) -> tuple[float, float]:
    money = math.inf if option.money is None else option.money.total.mid
    return option.wall_s.mid, money
