"""Compress: export the winners, distil their students, quantize; each result a candidate."""

from __future__ import annotations

import json
from collections.abc import Sequence

from automl.backend import JobFault
from automl.errors import StudyError
from automl.jobs.compress import CompressJob, CompressOutcome, compress_candidate
from automl.jobs.teaching import forget_answers
from automl.ranking import pareto_front
from automl.records import Candidate, Objective, TrialResult, TrialStatus, from_json
from automl.space.compression import CompressSettings
from automl.stages.search import rankable
from automl.stages.study import Study


def compress(study: Study, results: Sequence[TrialResult]) -> list[Candidate]:
    """Make every candidate that is not on disk yet, and return them all, unmeasured.

    A job that fails costs its own candidates only, and is told; raises StudyError where all fail.
    """
    jobs = compress_jobs(study, results)
    study.narrator.say(f"compress: {_describe(jobs, study.experiment.compress)}")
    outcomes: dict[str, CompressOutcome] = {}
    for job, answer in study.backend.map_jobs(compress_candidate, jobs):
        outcomes[job.name] = outcome_of(answer)
        study.narrator.say(f"compress: {job.name}: {outcomes[job.name].summary}")
    forget_answers(study.folder)
    study.context.bring(study.folder.candidates)
    candidates = [
        candidate for job in jobs for candidate in _load(study, outcomes[job.name].candidate_ids)
    ]
    if not candidates:
        raise StudyError("no trial could be exported; see the lines above")
    return candidates


def outcome_of(answer: CompressOutcome | JobFault) -> CompressOutcome:
    """A job's outcome, also where its process was lost."""
    if isinstance(answer, JobFault):
        return CompressOutcome(candidate_ids=(), summary=f"failed: {answer.reason}")
    return answer


def compress_jobs(study: Study, results: Sequence[TrialResult]) -> list[CompressJob]:
    """A job for each winner, undominated trial and student of a winner, and the default model."""
    winners = select_winners(study, results)
    others = [t for t in _undominated(study, results) if t not in winners]
    exported = [*winners, *others]
    jobs = [CompressJob(context=study.context, config=trial.config) for trial in exported]
    jobs += [
        CompressJob(
            context=study.context,
            config=winner.config,
            student=index,
            peers=_peers(study, winner, winners),
        )
        for winner in winners
        for index in range(len(study.experiment.compress.all_students))
    ]
    default = next((r for r in rankable(results) if r.config.number == 0), None)
    if default is not None and default not in exported:
        jobs.insert(0, CompressJob(context=study.context, config=default.config))
    return jobs


def _peers(
    study: Study, winner: TrialResult, winners: Sequence[TrialResult]
) -> tuple[CompressJob, ...]:
    """The other winners, where all of them teach."""
    if study.experiment.compress.teachers == "own":
        return ()
    others = [other for other in winners if other is not winner]
    return tuple(CompressJob(context=study.context, config=other.config) for other in others)


def _undominated(study: Study, results: Sequence[TrialResult]) -> list[TrialResult]:
    """The trials of full length that no other of these beats: the front must not miss one."""
    trials = [t for t in rankable(results) if t.status is TrialStatus.COMPLETED]
    rows = [_losses(trial, study.experiment.objectives) for trial in trials]
    return [trials[index] for index in pareto_front(rows)]


def select_winners(study: Study, results: Sequence[TrialResult]) -> list[TrialResult]:
    """The most accurate trial, then the rest of the front from accurate to cheap, then others.

    Trials that trained longer come first: scores of an early epoch cannot be compared with theirs.
    """
    objectives = study.experiment.objectives
    trials = rankable(results)
    chosen: list[TrialResult] = []
    for epochs in sorted({trial.epochs for trial in trials}, reverse=True):
        group = [trial for trial in trials if trial.epochs == epochs]
        rows = [_losses(trial, objectives) for trial in group]
        front = set(pareto_front(rows))
        order = sorted(range(len(rows)), key=lambda index: (index not in front, rows[index][0]))
        chosen += [group[index] for index in order]
    return chosen[: study.experiment.compress.winners]


def _losses(trial: TrialResult, objectives: Sequence[Objective]) -> list[float]:
    values = [(objective, trial.value(objective.metric)) for objective in objectives]
    return [objective.loss(value) for objective, value in values if value is not None]


def _load(study: Study, candidate_ids: Sequence[str]) -> list[Candidate]:
    files = [study.folder.candidate(name) / "candidate.json" for name in candidate_ids]
    return [from_json(Candidate, json.loads(file.read_text(encoding="utf-8"))) for file in files]


def _describe(jobs: Sequence[CompressJob], compress: CompressSettings) -> str:
    students = [compress.all_students[job.student] for job in jobs if job.student is not None]
    lengths = sorted({compress.epochs_of(student) for student in students})
    epochs = " or ".join(map(str, lengths)) if lengths else str(compress.epochs)
    networks = f"{len(jobs) - len(students)} trained networks to export"
    return f"{networks}, {len(students)} students to distil for {epochs} epochs each"
