"""Rank: measure every exported file in the runtime that serves it, and find the front.

Quality is scored on val, latency in interleaved rounds with all other candidates. The finalists,
and only they, are then scored on test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from automl.bounds import violations
from automl.ranking import choose_best, hypervolume, knee, pareto_front
from automl.records import Candidate
from automl.stages.measure import scored, timed
from automl.stages.ranked_pace import settled
from automl.stages.study import Study
from automl.store.tables import Standing, write_candidates


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Measured candidates and what the ranking made of them.

    `hypervolume` is that of the front, between it and the point `reference` (in the order of the
    objectives): accuracy 0, and for each cost its bound, or else twice that of the default model,
    which does not move when another candidate is added.
    """

    candidates: tuple[Candidate, ...]
    standing: Standing
    hypervolume: float
    reference: tuple[float, ...]

    def candidate(self, candidate_id: str | None) -> Candidate | None:
        """A candidate by its id."""
        return next((c for c in self.candidates if c.candidate_id == candidate_id), None)

    def blind_spots(self, candidate_id: str | None) -> tuple[str, ...]:
        """The classes of which a candidate gets no pixel right on val."""
        candidate = self.candidate(candidate_id)
        measured = () if candidate is None else candidate.measurements
        return tuple(
            m.metric.removeprefix("iou.")
            for m in measured
            if m.metric.startswith("iou.") and m.split == "val" and m.value == 0
        )

    @property
    def front(self) -> tuple[Candidate, ...]:
        """The front from fast to slow."""
        chosen = [c for c in self.candidates if c.candidate_id in self.standing.front]
        return tuple(sorted(chosen, key=lambda c: _value(c, "latency_ms")))


def rank(study: Study, candidates: Sequence[Candidate]) -> Ranking:
    """Measure the candidates, find front, knee, best and smallest, score these on test.

    Where no file keeps the constraints when it is measured again, all are ranked, and it is told.
    """
    study.narrator.say(f"rank: scoring {len(candidates)} exported files on val")
    on_val = [scored(study, candidate, "val") for candidate in candidates]
    study.narrator.say(f"rank: timing {len(candidates)} exported files, interleaved")
    ranking = _ranking(study, settled(study.experiment.compress, timed(study, on_val)))
    standing = ranking.standing
    finalists = {*standing.front, standing.smallest, standing.default} - {None}
    study.narrator.say(f"rank: scoring {len(finalists)} finalists on test")
    final = tuple(
        scored(study, candidate, "test") if candidate.candidate_id in finalists else candidate
        for candidate in ranking.candidates
    )
    write_candidates(study.folder, final, ranking.standing)
    return replace(ranking, candidates=final)


def _ranking(study: Study, candidates: Sequence[Candidate]) -> Ranking:
    experiment = study.experiment
    candidates = [c for c in candidates if not _is_slow_int8(study, c)]
    eligible = [c for c in candidates if not _broken(study, c)]
    if not eligible:
        for line in ["rank: no exported file keeps the constraints:", *_misses(study, candidates)]:
            study.narrator.say(line)
        eligible = list(candidates)
    contenders = _contenders(study, eligible)
    rows = [_losses(study, c) for c in contenders]
    front = pareto_front(rows)
    on_front = [contenders[i] for i in front]
    best = choose_best(
        [_value(c, experiment.objectives[0].metric) for c in on_front],
        [_value(c, "latency_ms") for c in on_front],
        experiment.export.best_accuracy_share,
    )
    default = _default(candidates)
    reference = _reference(
        study, rows, next((c for c in contenders if c.candidate_id == default), None)
    )
    return Ranking(
        candidates=tuple(candidates),
        standing=Standing(
            front=frozenset(c.candidate_id for c in on_front),
            knee=on_front[knee([rows[i] for i in front])].candidate_id,
            best=on_front[best].candidate_id,
            smallest=_smallest(study, eligible).candidate_id,
            default=default,
        ),
        hypervolume=hypervolume([rows[i] for i in front], reference),
        reference=tuple(reference),
    )


def _is_slow_int8(study: Study, candidate: Candidate) -> bool:
    """Whether it is an INT8 form that its size alone may not ship, told slow by the ranking."""
    int8 = study.experiment.compress.int8
    of_no_use = int8 is not None and not int8.allow_slower_if_smaller
    return of_no_use and candidate.for_size_alone and candidate.lineage.precision == "int8"


def _contenders(study: Study, eligible: Sequence[Candidate]) -> list[Candidate]:
    """Those that may be on the front.

    An INT8 form or a pruned student that is kept for its size alone is there only where size is an
    objective: that it seems to beat the network that it was made from by a little would be noise.
    """
    if any(objective.metric == "size_mb" for objective in study.experiment.objectives):
        return list(eligible)
    others = [c for c in eligible if not c.for_size_alone]
    return others if others else list(eligible)


def _reference(
    study: Study, rows: Sequence[Sequence[float]], default: Candidate | None
) -> list[float]:
    reference = [0.0]
    for index, objective in enumerate(study.experiment.objectives[1:], start=1):
        bound = study.experiment.constraints.get(objective.metric)
        if bound is None and default is not None:
            bound = 2 * _value(default, objective.metric)
        # Without a default model there is nothing better than the worst of them all.
        reference.append(max(row[index] for row in rows) if bound is None else bound)
    return reference


def _smallest(study: Study, eligible: Sequence[Candidate]) -> Candidate:
    """The smallest file that is as accurate as the best one must be; often an INT8 model."""
    metric = study.experiment.objectives[0].metric
    needed = study.experiment.export.best_accuracy_share * max(_value(c, metric) for c in eligible)
    accurate = [c for c in eligible if _value(c, metric) >= needed]
    return min(accurate, key=lambda c: (_value(c, "size_mb"), _value(c, "latency_ms")))


def _default(candidates: Sequence[Candidate]) -> str | None:
    """The float export of trial 0: what a user gets without any search."""
    for candidate in candidates:
        lineage = candidate.lineage
        is_default = lineage.trial_id.startswith("0000-") and lineage.kind == "trial"
        if is_default and lineage.precision == "fp32":
            return candidate.candidate_id
    return None


def _losses(study: Study, candidate: Candidate) -> list[float]:
    return [
        objective.loss(_value(candidate, objective.metric))
        for objective in study.experiment.objectives
    ]


def _value(candidate: Candidate, metric: str) -> float:
    """A measured value; quality is that on val."""
    value = candidate.value(metric, "val")
    value = candidate.value(metric) if value is None else value
    assert value is not None, f"{candidate.candidate_id} has no {metric}"
    return value


def _broken(study: Study, candidate: Candidate) -> Mapping[str, float]:
    missed = violations(study.experiment.constraints, candidate.measurements)
    return {name: by for name, by in missed.items() if by > 0}


def _misses(study: Study, candidates: Sequence[Candidate]) -> list[str]:
    return [
        f"  {candidate.candidate_id}: "
        + ", ".join(f"{name} exceeds its bound by {by:.3g}" for name, by in broken.items())
        for candidate in candidates
        if (broken := _broken(study, candidate))
    ]
