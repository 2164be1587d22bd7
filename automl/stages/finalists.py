"""Finalists: the recipes behind `best` and the default model repeated with further seeds.

A repetition is the whole lineage: the trial trained again, and for a student its distillation from
that new teacher; then the export and its INT8 twin. What the study ships stays the ranking's: a
further seed tells how much of its score is chance, and is never chosen by its own.

Each seed has a folder that is laid out as a study's, so a seed that is there is not run again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from automl.backend import JobFault
from automl.jobs.compress import CompressJob, compress_candidate
from automl.jobs.retrain import RetrainJob, RetrainOutcome, retrain_trial
from automl.jobs.speed import choice_file, keep_choice, read_choice
from automl.jobs.teaching import forget_answers
from automl.measurement.repeats import MeanInterval, mean_interval
from automl.records import Candidate, Split, TrialResult, from_json
from automl.space.experiment import Experiment
from automl.stages.compress import compress_jobs, outcome_of
from automl.stages.measure import scored
from automl.stages.rank import Ranking
from automl.stages.study import Study

#: Further seeds count from here on: a trial's own are small numbers.
_FIRST_SEED = 1_000_000
#: On what repetitions are scored; on test once, as the file that they repeat.
SCORED_ON: tuple[Split, ...] = ("val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """An exported file of the ranking, and what its recipe gave with further seeds, by seed."""

    candidate: Candidate
    again: Mapping[int, Candidate]

    def values(self, metric: str, split: Split) -> dict[int, float]:
        """A metric by seed."""
        pairs = ((seed, twin.value(metric, split)) for seed, twin in self.again.items())
        return {seed: value for seed, value in pairs if value is not None}

    def interval(self, metric: str, split: Split) -> MeanInterval:
        """The mean over the further seeds; the file's own value, by which it was chosen, is not in.

        With it the mean would be too high: among several, the best on val is so by chance, too.
        """
        return mean_interval(list(self.values(metric, split).values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """The repetitions of a study. `wanted` seeds were asked for; those that failed are left out.

    `files` holds the exported files of the repeated networks that the ranking has a name for, as
    far as a seed of them succeeded.
    """

    metric: str
    wanted: int = 0
    files: tuple[Repeated, ...] = field(default=())

    def of(self, candidate_id: str | None) -> Repeated | None:
        """The repetitions of one file."""
        return next((f for f in self.files if f.candidate.candidate_id == candidate_id), None)

    def gain(self, better: str | None, than: str | None, split: Split) -> MeanInterval | None:
        """The mean of `better` minus `than`, paired by seed; None without a seed that has both."""
        first, second = self.of(better), self.of(than)
        if first is None or second is None or first is second:
            return None
        minuend, subtrahend = first.values(self.metric, split), second.values(self.metric, split)
        gaps = [minuend[seed] - subtrahend[seed] for seed in minuend if seed in subtrahend]
        return mean_interval(gaps) if gaps else None


def repeat_finalists(study: Study, results: Sequence[TrialResult], ranking: Ranking) -> Repeats:
    """Train, export and score what is missing of `export.finalist_seeds` seeds.

    A seed that fails is told and left out; running the study again tries it again.
    """
    metric = study.experiment.objectives[0].metric
    seeds = further_seeds(study.experiment)
    if not seeds:
        return Repeats(metric=metric)
    networks = _networks(study, results, ranking)
    names = ", ".join(job.name for job in networks)
    study.narrator.say(f"finalists: {names} again with {len(seeds)} further seeds")
    epochs = {result.config.trial_id: result.epochs for result in results}
    trained = _train(study, networks, seeds, epochs)
    made = _export(study, networks, trained)
    named = (ranking.standing.best, ranking.standing.smallest, ranking.standing.default)
    chosen = [ranking.candidate(name) for name in dict.fromkeys(named)]
    repeated = [_scored(study, candidate, made) for candidate in chosen if candidate is not None]
    files = tuple(file for file in repeated if file.again)
    return Repeats(metric=metric, wanted=len(seeds), files=files)


def further_seeds(experiment: Experiment) -> tuple[int, ...]:
    """The seeds of the repetitions; raising their number keeps those that there were."""
    first = _FIRST_SEED + experiment.search.seed
    return tuple(range(first, first + experiment.export.finalist_seeds))


def _networks(study: Study, results: Sequence[TrialResult], ranking: Ranking) -> list[CompressJob]:
    """The jobs that made `best` and the default model."""
    wanted = {
        _network_name(candidate)
        for name in (ranking.standing.best, ranking.standing.default)
        if (candidate := ranking.candidate(name)) is not None
    }
    return [job for job in compress_jobs(study, results) if job.name in wanted]


def _network_name(candidate: Candidate) -> str:
    return candidate.candidate_id.removesuffix(f"-{candidate.lineage.precision}")


def _with_seed(study: Study, job: CompressJob, seed: int) -> CompressJob:
    """The same job on the same trial of another seed, in that seed's folder."""
    context = study.context.within(f"{study.folder.finalists.name}/seed{seed}")
    again = replace(job, context=context, config=replace(job.config, seed=seed))
    # How they train is part of the recipe.
    for first, second in (
        (job.config.trial_id, again.config.trial_id),
        *([] if job.student is None else [(job.name, job.name)]),
    ):
        donor, heir = study.folder.trial(first), context.folder.trial(second)
        study.context.bring(choice_file(donor))
        keep_choice(heir, read_choice(donor))
        context.keep(choice_file(heir))
    return again


def _train(
    study: Study,
    networks: Sequence[CompressJob],
    seeds: Sequence[int],
    epochs: Mapping[str, int],
) -> set[tuple[int, int]]:
    """Train each trial with each seed; the number and the seed of those that were trained.

    A trial and its student need the same training once.
    """
    jobs: dict[tuple[int, int], RetrainJob] = {}
    for network in networks:
        for seed in seeds:
            again = _with_seed(study, network, seed)
            jobs[network.config.number, seed] = RetrainJob(
                context=again.context, config=again.config, epochs=epochs[network.config.trial_id]
            )
    trained = set()
    for job, answer in study.backend.map_jobs(retrain_trial, list(jobs.values())):
        outcome = _retrained(answer)
        study.narrator.say(f"finalists: {job.name}: {outcome.summary}")
        if outcome.trained:
            trained.add((job.config.number, job.config.seed))
    return trained


def _retrained(answer: RetrainOutcome | JobFault) -> RetrainOutcome:
    if isinstance(answer, JobFault):
        return RetrainOutcome(trained=False, summary=f"failed: {answer.reason}")
    return answer


def _export(
    study: Study, networks: Sequence[CompressJob], trained: set[tuple[int, int]]
) -> dict[str, dict[int, Candidate]]:
    """Export each network, and distil it first where it is a student; candidates by id and seed."""
    jobs = [
        _with_seed(study, network, seed)
        for network in networks
        for number, seed in sorted(trained)
        if number == network.config.number
    ]
    made: dict[str, dict[int, Candidate]] = {}
    for job, answer in study.backend.map_jobs(compress_candidate, jobs):
        outcome = outcome_of(answer)
        seed = job.config.seed
        job.context.bring(job.context.folder.candidates)
        study.narrator.say(f"finalists: {job.name} with seed {seed}: {outcome.summary}")
        for candidate_id in outcome.candidate_ids:
            made.setdefault(candidate_id, {})[seed] = _load(study, job, candidate_id)
    for job in jobs:
        forget_answers(job.context.folder)
    return made


def _load(study: Study, job: CompressJob, candidate_id: str) -> Candidate:
    """A candidate of a seed's folder, its artifact named as seen from the study's."""
    file = job.context.folder.candidate(candidate_id) / "candidate.json"
    candidate = from_json(Candidate, json.loads(file.read_text(encoding="utf-8")))
    place = job.context.study_root.relative_to(study.folder.root)
    return replace(candidate, artifact=(place / candidate.artifact).as_posix())


def _scored(
    study: Study, candidate: Candidate, made: Mapping[str, Mapping[int, Candidate]]
) -> Repeated:
    again = dict(sorted(made.get(candidate.candidate_id, {}).items()))
    for split in SCORED_ON:
        again = {seed: scored(study, twin, split) for seed, twin in again.items()}
    return Repeated(candidate=candidate, again=again)
