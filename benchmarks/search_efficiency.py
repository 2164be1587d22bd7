"""How many epochs search engines need for one front: ours, Ray Tune's and Optuna's, side by side.

    python benchmarks/search_efficiency.py [--seeds 20] [--problems surface-defects zdt1 ...]

Problems: a table of really trained learning curves (`learning_curves.py` makes it), and analytic
ones whose quality shows only bit by bit as epochs pass. Of all, the cost is known before training,
and the quality is what trains. Every engine begins with the default configuration, runs one trial
at a time and has the same budget of epochs; each epoch that it trains adds a point to its front.

Prints, for each problem, quartiles over the seeds of the hypervolume at shares of the budget, as a
share of the best possible one, and for each engine the epochs that ours needs for the final
(median) hypervolume of that engine, as a share of the budget.
"""

from __future__ import annotations

import argparse
import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pyarrow.parquet as pq
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import GPSampler, NSGAIISampler, RandomSampler, TPESampler
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

import automl
from automl.ranking import hypervolume
from automl.records import Scalar

TABLES = Path(__file__).parent / "tables"
ETA = 3
Params = Mapping[str, Scalar]
#: (quality, to be maximised; cost, to be minimised) after each epoch, in the order of training.
Points = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is searched: `quality` after an epoch, and `cost`, known in advance.

    `best` are the (quality, cost) of the whole space after all epochs, or of its known front.
    """

    name: str
    space: Mapping[str, Mapping[str, object]]
    epochs: int
    min_epochs: int
    budget: int
    quality: Callable[[Params, int], float]
    cost: Callable[[Params], float]
    best: Sequence[tuple[float, float]]
    reference: tuple[float, float]

    def volume(self, points: Sequence[tuple[float, float]]) -> float:
        """The hypervolume of points, as a share of that of the best ones."""
        losses = [[-quality, cost] for quality, cost in points]
        reference = [-self.reference[0], self.reference[1]]
        whole = hypervolume([[-q, c] for q, c in self.best], reference)
        return hypervolume(losses, reference) / whole

    def default(self) -> dict[str, Scalar]:
        """The default configuration, by which every engine begins."""
        return {
            name: form["choice"][0] if "choice" in form else form["default"]
            for name, form in self.space.items()
        }

    def distributions(self) -> dict[str, BaseDistribution]:
        """The space in Optuna's terms."""
        return {
            name: CategoricalDistribution(form["choice"])
            if "choice" in form
            else FloatDistribution(*form["float"])
            for name, form in self.space.items()
        }


# ---------------------------------------------------------------------- problems


@cache
def trained(name: str, trainings: int) -> Problem:
    """A problem whose curves were trained."""
    rows = pq.read_table(TABLES / f"{name}.parquet").to_pylist()
    names = [n for n in rows[0] if n not in _MEASURED]
    curves: dict[tuple[Scalar, ...], dict[int, float]] = {}
    costs: dict[tuple[Scalar, ...], float] = {}
    for row in rows:
        key = tuple(row[n] for n in names)
        curves.setdefault(key, {})[row["epoch"]] = row["miou"]
        costs[key] = row["latency_ms"]
    epochs = max(row["epoch"] for row in rows)
    return Problem(
        name=name,
        space={n: {"choice": list(dict.fromkeys(row[n] for row in rows))} for n in names},
        epochs=epochs,
        min_epochs=2,
        budget=trainings * epochs,
        quality=lambda params, epoch: curves[tuple(params[n] for n in names)][epoch],
        cost=lambda params: costs[tuple(params[n] for n in names)],
        best=[(quality, costs[k]) for k, curve in curves.items() for quality in curve.values()],
        reference=(0.0, 1.1 * max(costs.values())),
    )


_MEASURED = ("number", "epoch", "miou", "latency_ms", "params_m", "macs_g", "size_mb")


def analytic(name: str, trainings: int) -> Problem:
    """ZDT1 to ZDT3 (Zitzler et al. 2000) in six dimensions, the second objective as what trains.

    It is approached as a power of the epochs, by each configuration at a pace of its own and with
    some noise, so that early ranks are only a hint, as in training.
    """
    shape = _SHAPES[name]
    dimensions, epochs = 6, 9

    def x(params: Params) -> NDArray[np.float64]:
        return np.array([float(params[f"x{i}"]) for i in range(dimensions)])

    def loss(params: Params) -> float:
        values = x(params)
        g = 1 + 9 * values[1:].mean()
        return float(g * shape(values[0] / g, values[0]))

    def quality(params: Params, epoch: int) -> float:
        values = x(params)
        pace = 0.6 + 0.6 * np.sin(7 * values.sum()) ** 2
        rng = np.random.default_rng(int(1e6 * values.sum()) + epoch)
        missing = 4 * (epoch**-pace - epochs**-pace)
        return -(loss(params) + missing + rng.normal(0, 0.05))

    front = np.linspace(0, 1, 500)
    return Problem(
        name=name,
        space={f"x{i}": {"float": [0.0, 1.0], "default": 0.5} for i in range(dimensions)},
        epochs=epochs,
        min_epochs=1,
        budget=trainings * epochs,
        quality=quality,
        cost=lambda params: float(params["x0"]),
        best=[(-shape(f, f), float(f)) for f in front.tolist()],
        reference=(-10.0, 1.1),
    )


_SHAPES: Mapping[str, Callable[[float, float], float]] = {
    "zdt1": lambda ratio, _: 1 - ratio**0.5,
    "zdt2": lambda ratio, _: 1 - ratio**2,
    "zdt3": lambda ratio, f: 1 - ratio**0.5 - ratio * float(np.sin(10 * np.pi * f)),
}


def problem_of(name: str, trainings: int) -> Problem:
    """The problem of a name, with the budget of so many full trainings."""
    return analytic(name, trainings) if name in _SHAPES else trained(name, trainings)


# ---------------------------------------------------------------------- engines


def ours(problem: Problem, seed: int) -> Points:
    """`automl.search` as it is, with as many trials as its rungs need to spend the budget."""
    points: Points = []

    def evaluate(trial: automl.Trial) -> Iterator[Mapping[str, float]]:
        cost = problem.cost(trial.params)
        for epoch in range(trial.epochs_done + 1, trial.epochs + 1):
            quality = problem.quality(trial.params, epoch)
            points.append((quality, cost))
            yield {"quality": quality}

    automl.search(
        problem.space,
        evaluate,
        objectives={"quality": "maximize", "cost": "minimize"},
        costs=lambda params: {"cost": problem.cost(params)},
        trials=_trials(problem),
        epochs=problem.epochs,
        min_epochs=problem.min_epochs,
        eta=ETA,
        seed=seed,
    )
    return points


def _trials(problem: Problem) -> int:
    """How many trials spend the budget: one in eta of those at a rung goes on to the next."""
    spent, share, before, epochs = 0.0, 1.0, 0, problem.min_epochs
    while before < problem.epochs:
        spent += share * (min(epochs, problem.epochs) - before)
        before, epochs, share = min(epochs, problem.epochs), epochs * ETA, share / ETA
    return round(problem.budget / spent)


def random_search(problem: Problem, seed: int) -> Points:
    """(a) Random configurations, each trained to the end."""
    return _study(problem, RandomSampler(seed=seed))


def nsga2(problem: Problem, seed: int) -> Points:
    """(d) Optuna's NSGA-II, each trial trained to the end; a population that fits the budget."""
    return _study(problem, NSGAIISampler(seed=seed, population_size=10))


def tpe(problem: Problem, seed: int) -> Points:
    """Optuna's TPE on both objectives, each trial trained to the end."""
    return _study(problem, TPESampler(seed=seed, multivariate=True, group=True))


def gp(problem: Problem, seed: int) -> Points:
    """Optuna's Gaussian process on both objectives, each trial trained to the end."""
    return _study(problem, GPSampler(seed=seed))


def random_asha(problem: Problem, seed: int) -> Points:
    """(b) Random configurations, stopped by Ray's ASHA on quality."""
    study = optuna.create_study(sampler=RandomSampler(seed=seed), directions=["maximize"])
    study.enqueue_trial(problem.default())

    def suggest(_: str) -> Params:
        return study.ask(problem.distributions()).params

    return _asha(problem, suggest, lambda _name, _result: None)


def tpe_asha(problem: Problem, seed: int) -> Points:
    """(c) Ray's OptunaSearch (TPE) and ASHA, both on quality alone."""
    space = problem.distributions()

    def define(trial: optuna.Trial) -> None:
        for name, domain in space.items():
            if isinstance(domain, CategoricalDistribution):
                trial.suggest_categorical(name, domain.choices)
            elif isinstance(domain, FloatDistribution):
                trial.suggest_float(name, domain.low, domain.high)

    search = OptunaSearch(
        space=define,
        metric="quality",
        mode="max",
        sampler=TPESampler(seed=seed),
        points_to_evaluate=[problem.default()],
    )
    return _asha(problem, search.suggest, search.on_trial_complete)


def _study(problem: Problem, sampler: optuna.samplers.BaseSampler) -> Points:
    study = optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])
    study.enqueue_trial(problem.default())
    points: Points = []
    while len(points) < problem.budget:
        trial = study.ask(problem.distributions())
        curve = [
            (problem.quality(trial.params, epoch), problem.cost(trial.params))
            for epoch in range(1, problem.epochs + 1)
        ]
        points += curve
        study.tell(trial, curve[-1])
    return points[: problem.budget]


def _asha(
    problem: Problem,
    suggest: Callable[[str], Params],
    complete: Callable[[str, Mapping[str, object]], None],
) -> Points:
    scheduler = AsyncHyperBandScheduler(
        time_attr="training_iteration",
        metric="quality",
        mode="max",
        max_t=problem.epochs,
        grace_period=problem.min_epochs,
        reduction_factor=ETA,
    )
    points: Points = []
    for number in itertools.count():
        if len(points) >= problem.budget:
            return points[: problem.budget]
        trial = SimpleNamespace(trial_id=f"{number}")
        params = suggest(trial.trial_id)
        scheduler.on_trial_add(None, trial)
        for epoch in range(1, problem.epochs + 1):
            points.append((problem.quality(params, epoch), problem.cost(params)))
            result = {"training_iteration": epoch, "quality": points[-1][0]}
            verdict = scheduler.on_trial_result(None, trial, result)
            if verdict == TrialScheduler.STOP:
                break
        scheduler.on_trial_complete(None, trial, result)
        complete(trial.trial_id, result)
    return None


ENGINES: Mapping[str, Callable[[Problem, int], Points]] = {
    "automl": ours,
    "random": random_search,
    "random + ASHA": random_asha,
    "TPE + ASHA": tpe_asha,
    "NSGA-II": nsga2,
    "TPE": tpe,
    "GP": gp,
}

# ---------------------------------------------------------------------- comparison


def trace(job: tuple[str, int, str, int]) -> NDArray[np.float64]:
    """The hypervolume after each epoch of one engine's run, (budget,)."""
    name, trainings, engine, seed = job
    _quiet()
    problem = problem_of(name, trainings)
    points = ENGINES[engine](problem, seed)[: problem.budget]
    volumes = np.empty(problem.budget)
    front: Points = []
    volume = 0.0
    for epoch in range(problem.budget):
        # An engine that has spent less than the budget keeps what it has.
        if epoch < len(points):
            quality, cost = points[epoch]
            if not any(q >= quality and c <= cost for q, c in front):
                front = [(q, c) for q, c in front if q > quality or c < cost]
                front.append((quality, cost))
                volume = problem.volume(front)
        volumes[epoch] = volume
    return volumes


def compare(problem: Problem, traces: Mapping[str, NDArray[np.float64]]) -> None:
    """Print quartiles of (seeds, budget) traces, and what ours needs for the others' ends."""
    shares = (0.125, 0.25, 0.5, 1.0)
    trainings = problem.budget // problem.epochs
    print(f"\n{problem.name}: {problem.budget} epochs, {trainings} trainings of {problem.epochs}")
    print(f"  {'engine':<15}" + "".join(f"{f'{s:.1%} of the budget':>27}" for s in shares))
    for engine, volumes_se in traces.items():
        cells = []
        for share in shares:
            quarter, half, three = np.percentile(
                volumes_se[:, round(share * problem.budget) - 1], [25, 50, 75]
            )
            cells.append(f"{half:.4f} ({quarter:.4f} to {three:.4f})")
        print(f"  {engine:<15}" + "".join(f"{cell:>27}" for cell in cells))
    finals = {engine: float(np.median(v[:, -1])) for engine, v in traces.items()}
    best = max((engine for engine in traces if engine != "automl"), key=lambda e: finals[e])
    print("  epochs of automl for the final median of each, as a share of the budget:")
    for engine in traces:
        if engine != "automl":
            needed = np.sort([_first(row, finals[engine]) for row in traces["automl"]])
            quarter, half, three = (_at(needed, q) for q in (0.25, 0.5, 0.75))
            mark = "  <- best of the others" if engine == best else ""
            cells = f"{_text(half)} ({_text(quarter)} to {_text(three)})"
            print(f"  {engine:<15}{cells:>27}{mark}")


def _first(volumes_e: NDArray[np.float64], wanted: float) -> float:
    """The share of the budget after which a run has a hypervolume; infinite where it never does."""
    reached = np.flatnonzero(volumes_e >= wanted)
    return (int(reached[0]) + 1) / len(volumes_e) if len(reached) else np.inf


def _at(ordered: NDArray[np.float64], quantile: float) -> float:
    """A quantile without interpolation, which infinite values do not allow."""
    return float(ordered[min(len(ordered) - 1, int(quantile * len(ordered)))])


def _text(share: float) -> str:
    return f"{share:.2f}" if np.isfinite(share) else "never"


def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")


def main() -> None:
    """Run every engine on every problem."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument(
        "--problems", nargs="+", default=["surface-defects", *_SHAPES], metavar="NAME"
    )
    parser.add_argument(
        "--trainings", type=int, nargs="+", default=[20], help="budgets, in full trainings"
    )
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    with ProcessPoolExecutor(arguments.processes) as pool:
        for name, trainings in itertools.product(arguments.problems, arguments.trainings):
            traces = {}
            for engine in arguments.engines:
                jobs = [(name, trainings, engine, seed) for seed in range(arguments.seeds)]
                traces[engine] = np.array(list(pool.map(trace, jobs)))
            compare(problem_of(name, trainings), traces)


if __name__ == "__main__":
    main()
