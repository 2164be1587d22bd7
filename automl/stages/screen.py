"""Pre-screen: score a pool of untrained networks, and try the most promising ones first.

What was chosen is on disk (`screening.json`) before any of it is tried: a study that is continued
tries the same configurations, whatever its networks would be timed at now.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from automl.backend import JobFault
from automl.jobs.costs import prepare_reference
from automl.jobs.screening import (
    ScreeningJob,
    ScreeningOutcome,
    architecture_of,
    screen_architecture,
)
from automl.records import Scalar, TrialConfig, from_json, to_json, value_of
from automl.space.experiment import Experiment
from automl.space.screening import ScreenSettings
from automl.stages.study import Study
from automl.store.atomic import write_json

#: A random configuration that repeats an earlier one is drawn again, this many times a place.
_ATTEMPTS = 20
#: Keeps the pool's random numbers apart from those of the sampler's proposals.
_STREAM = (0, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenedPoint:
    """One configuration of the pool; `outcome` is that of its architecture."""

    params: Mapping[str, Scalar]
    outcome: ScreeningOutcome
    chosen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """The pool in the order in which it was drawn, and the proxy that chose from it."""

    proxy: str
    pool: tuple[ScreenedPoint, ...]

    @property
    def points(self) -> tuple[Mapping[str, Scalar], ...]:
        """The configurations to try."""
        return tuple(point.params for point in self.pool if point.chosen)


def screen(study: Study) -> tuple[Mapping[str, Scalar], ...]:
    """The configurations that the proxy finds most promising; none where pre-screening is off."""
    settings = study.experiment.search.screen
    if settings is None:
        return ()
    file = study.folder.screening_file
    if file.exists():
        return from_json(Screening, json.loads(file.read_text(encoding="utf-8"))).points
    prepare_reference(study.context)
    drawn = draw_pool(study.experiment, settings.pool)
    study.narrator.say(f"screen: scoring {len(drawn)} untrained networks by {settings.proxy}")
    outcomes = screen_networks(study, drawn)
    pool = [ScreenedPoint(params=p, outcome=o) for p, o in zip(drawn, outcomes, strict=True)]
    chosen = choose(pool, settings, cost=_cost(study.experiment))
    screening = Screening(proxy=settings.proxy, pool=chosen)
    write_json(file, to_json(screening))
    study.context.keep(file)
    for line in _describe(screening):
        study.narrator.say(f"screen: {line}")
    return screening.points


def screen_networks(study: Study, drawn: Sequence[Mapping[str, Scalar]]) -> list[ScreeningOutcome]:
    """Costs and scores of the untrained network of each configuration, each architecture once."""
    seed = study.experiment.search.seed
    keys = [architecture_of(params) for params in drawn]
    first = {key: keys.index(key) for key in keys}
    configs = [TrialConfig(number=i, seed=seed, params=drawn[i]) for i in first.values()]
    jobs = [ScreeningJob(context=study.context, config=config) for config in configs]
    outcomes: dict[int, ScreeningOutcome] = {}
    for job, answer in study.backend.map_jobs(screen_architecture, jobs):
        outcomes[job.config.number] = _outcome(answer)
    return [outcomes[first[key]] for key in keys]


def _outcome(answer: ScreeningOutcome | JobFault) -> ScreeningOutcome:
    return ScreeningOutcome(fault=answer.reason) if isinstance(answer, JobFault) else answer


def draw_pool(experiment: Experiment, size: int) -> list[Mapping[str, Scalar]]:
    """Random configurations by the study's seed, each of another architecture.

    None is built like the default or one of the user's points, which are tried anyway. A space
    with few architectures gives fewer than `size`.
    """
    space = experiment.space
    given = [space.default(), *map(space.complete, experiment.search.points)]
    known = {architecture_of(params) for params in given}
    pool: list[Mapping[str, Scalar]] = []
    rng = np.random.default_rng((experiment.search.seed, *_STREAM))
    for _ in range(_ATTEMPTS * size):
        params = space.assign(lambda _name, domain: domain.at(rng.random()))
        architecture = architecture_of(params)
        if architecture not in known:
            known.add(architecture)
            pool.append(params)
        if len(pool) == size:
            break
    return pool


def choose(
    pool: Sequence[ScreenedPoint], settings: ScreenSettings, *, cost: str | None
) -> tuple[ScreenedPoint, ...]:
    """The pool with the best of each part marked: `keep` parts of equal size, from cheap to dear.

    Accuracy grows with cost, and so do most scores: without the parts, all that is chosen would be
    slow. Where no cost is an objective (None), the best scores of the whole pool are chosen.
    """
    scored = [
        (index, point.outcome.scores[settings.proxy])
        for index, point in enumerate(pool)
        if point.outcome.scores is not None
    ]
    # A sort keeps the order of equals, so that ties go to the point that was drawn first.
    ranked = [index for index, _ in sorted(scored, key=lambda pair: -pair[1])]
    chosen = set(ranked[: settings.keep])
    if cost is not None and len(ranked) > settings.keep:
        places = sorted(sorted(ranked), key=lambda index: _value(pool[index], cost))
        parts = [set(part.tolist()) for part in np.array_split(places, settings.keep)]
        chosen = {next(index for index in ranked if index in part) for part in parts}
    return tuple(replace(point, chosen=index in chosen) for index, point in enumerate(pool))


def _cost(experiment: Experiment) -> str | None:
    """The first cost among the objectives: all but the first objective are costs."""
    return experiment.objectives[1].metric if len(experiment.objectives) > 1 else None


def _value(point: ScreenedPoint, cost: str) -> float:
    value = value_of(point.outcome.costs, cost)
    assert value is not None, f"a scored network has a {cost}"
    return value


def _describe(screening: Screening) -> Iterator[str]:
    faults = [point.outcome.fault for point in screening.pool if point.outcome.fault is not None]
    for fault in sorted(set(faults)):
        yield f"{faults.count(fault)} left out: {fault}"
    for point in screening.pool:
        if point.chosen and point.outcome.scores is not None:
            score = point.outcome.scores[screening.proxy]
            network = ", ".join(str(value) for value in point.params.values())
            yield f"chosen: {network}: {screening.proxy} {score:.4g}"
    if not screening.points:
        yield "none can be tried"
