"""One possible course of a study, drawn from what a probe measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from automl.measurement.pace import NetworkPace, Probe
from automl.records import Measurement, TrialConfig
from automl.simulation.script import TrialScript
from automl.space.search_plan import SearchPlan

#: How strongly a network's accuracy follows its time, as a correlation of normal scores: somewhere
#: between none at all and this. Over 24 networks multiply-adds and mIoU had a rank correlation of
#: 0.62 (results/benchmarks/proxies.txt).
_LARGEST_CORRELATION = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """The times of one network in one simulated study, on the machines that are planned for."""

    setup_s: float
    resume_s: float
    epoch_s: float
    evaluation_s: float
    image_s: float
    costs: tuple[Measurement, ...]
    infeasible: str | None


class Course:
    """A study as it may go: one speed of the machines, one weighing of the probed networks.

    The first trials are those that were probed. Each further one is a probed network with its
    times spread a little (a smoothed bootstrap in the logarithm), where how often each comes is
    drawn anew for each course: a handful of networks says little about all of a space (Source:
    Rubin 1981, the Bayesian bootstrap). `speedup` is how many times as fast as the probe's machine
    a device trains, from one bound to the other.
    """

    def __init__(
        self,
        plan: SearchPlan,
        probe: Probe,
        *,
        speedup: tuple[float, float],
        seed: tuple[int, ...],
    ) -> None:
        self._plan, self._probe, self._seed = plan, probe, seed
        rng = np.random.default_rng(seed)
        self._weights = rng.dirichlet(np.ones(len(probe.networks)))
        low, high = speedup
        spread = float(np.mean([n.step_spread for n in probe.feasible])) if probe.feasible else 0.0
        self._speedup = math.exp(rng.uniform(math.log(low), math.log(high)))
        # Half of the middle half is 0.67 standard deviations.
        self._machine = math.exp(rng.normal(0.0, spread / 2 / 0.67))
        self._correlation = rng.uniform(0.0, _LARGEST_CORRELATION)
        self._bandwidth = _bandwidth(probe)
        self._drawn: dict[int, Drawn] = {}

    def network(self, number: int) -> Drawn:
        """The times of trial `number`."""
        if number not in self._drawn:
            self._drawn[number] = self._draw(number)
        return self._drawn[number]

    def script(self, config: TrialConfig) -> TrialScript:
        """What a trial does in this course."""
        drawn, plan = self.network(config.number), self._plan
        return TrialScript(
            setup_s=drawn.setup_s,
            resume_s=drawn.resume_s,
            epoch_s=tuple(
                drawn.epoch_s * plan.epoch_cost(epoch) + drawn.evaluation_s
                for epoch in range(1, plan.epochs + 1)
            ),
            metrics=tuple(self._scores(config.number)[: plan.epochs]),
            costs=drawn.costs,
            infeasible=drawn.infeasible,
        )

    def _draw(self, number: int) -> Drawn:
        networks, rng = self._probe.networks, np.random.default_rng((*self._seed, number, 0))
        if number < len(networks):
            return self._timed(networks[number], 1.0)
        chosen = networks[int(rng.choice(len(networks), p=self._weights))]
        return self._timed(chosen, math.exp(rng.normal(0.0, self._bandwidth)))

    def _timed(self, pace: NetworkPace, spread: float) -> Drawn:
        # Workers share each batch; what they lose by waiting for each other is not known.
        trains = spread * self._machine / self._speedup / self._plan.workers
        return Drawn(
            # Exporting and timing a network is work of a CPU, whatever trains.
            setup_s=pace.setup_s * self._machine,
            resume_s=0.5 * pace.setup_s * self._machine,
            epoch_s=pace.epoch_s * trains,
            evaluation_s=pace.evaluation_s * trains,
            image_s=pace.image_s * spread * self._machine,
            costs=pace.costs,
            infeasible=pace.infeasible,
        )

    def _scores(self, number: int) -> list[Mapping[str, float]]:
        """An accuracy that rises and then levels off; only how trials compare matters."""
        rng = np.random.default_rng((*self._seed, number, 1))
        drawn = self.network(number)
        level = self._correlation * self._standing(drawn) + math.sqrt(
            1 - self._correlation**2
        ) * float(rng.normal())
        final = 1 / (1 + math.exp(-level))
        name = self._plan.objectives[0].metric
        epochs = self._plan.epochs
        # A rung ranks imperfectly: its scores are those of the end with some noise.
        return [
            {name: final * (1 - 0.5 ** (1 + 3 * epoch / epochs)) + 0.03 * float(rng.normal())}
            for epoch in range(1, epochs + 1)
        ]

    def _standing(self, drawn: Drawn) -> float:
        """How slow a network is among those that were probed, in standard deviations."""
        logs = [math.log(n.epoch_s) for n in self._probe.feasible if n.epoch_s > 0]
        if len(logs) < 2 or drawn.epoch_s <= 0:
            return 0.0
        own = math.log(drawn.epoch_s * self._speedup * self._plan.workers / self._machine)
        deviation = float(np.std(logs))
        return 0.0 if deviation == 0 else (own - float(np.mean(logs))) / deviation


def _bandwidth(probe: Probe) -> float:
    """Silverman's rule for the logarithm of the seconds; 0 for a single network."""
    logs = [math.log(n.epoch_s) for n in probe.feasible if n.epoch_s > 0]
    if len(logs) < 2:
        return 0.0
    deviation = float(np.std(logs, ddof=1))
    return 1.06 * deviation / math.pow(len(logs), 0.2)
