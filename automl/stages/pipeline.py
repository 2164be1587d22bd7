"""The whole job: search, compress, rank, repeat, export, report. Each stage can be run again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from automl.compression.ladder import Ladder
from automl.conductor.budget import planned_epochs
from automl.jobs.environment import environment_here
from automl.records import TrialResult
from automl.space.search_plan import plan_of
from automl.stages.compress import compress
from automl.stages.correlation import correlate
from automl.stages.export import export
from automl.stages.finalists import Repeats, repeat_finalists
from automl.stages.ladders import ladders_of
from automl.stages.rank import Ranking, rank
from automl.stages.report import write_report
from automl.stages.search import search
from automl.stages.study import Study
from automl.stages.views import Views, score_views
from automl.store.atomic import remove_abandoned
from automl.store.environment import record_environment
from automl.store.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReport:
    """What a study ended in. `bundles` maps a name to a verified bundle's folder.

    `epochs` is what was trained, counted in full epochs, and `planned_epochs` what the rungs
    allowed, where no trial is infeasible or fails.
    """

    results: tuple[TrialResult, ...]
    ranking: Ranking
    repeats: Repeats
    bundles: dict[str, Path]
    views: Views | None = None
    ladders: tuple[Ladder, ...] = ()
    epochs: float
    planned_epochs: float
    device_hours: float


def run_study(study: Study, *, clock: Callable[[], float]) -> StudyReport:
    """Run what is left of a study, to its verified bundles.

    Raises:
        StudyError: nothing can be ranked, or the fault is not one trial's.
        UsageError: another process works on this study.
    """
    with Journal(study.folder.journal_file, study.upkeep.line_copy()) as journal:
        remove_abandoned(study.folder.root)
        record_environment_of(study, journal)
        study.upkeep.keep()
        results = search(study, journal, clock=clock)
        study.upkeep.keep()
        candidates = compress(study, results)
        ranking = rank(study, candidates)
        study.upkeep.keep()
        repeats = repeat_finalists(study, results, ranking)
        bundles = export(study, ranking, repeats)
        views = score_views(study, bundles)
        write_report(study, results, ranking, repeats, correlate(study, results), views)
        study.upkeep.keep()
    device_seconds = sum(result.seconds for result in results) * study.experiment.train.workers
    plan = plan_of(study.experiment)
    return StudyReport(
        results=tuple(results),
        ranking=ranking,
        repeats=repeats,
        bundles=bundles,
        views=views,
        ladders=tuple(ladders_of(study, ranking)),
        epochs=sum(plan.cost(result.epochs) for result in results),
        planned_epochs=planned_epochs(plan),
        device_hours=device_seconds / 3600,
    )


def record_environment_of(study: Study, journal: Journal) -> None:
    """Keep what the trials that start now train on, from the next event of the journal on."""
    environment = environment_here(
        study.experiment.train,
        threads=study.backend.threads_per_job(),
        runs_on=study.backend.describe(),
    )
    first_event = len(journal.read())
    record_environment(study.folder.environment_file, environment, first_event=first_event)
