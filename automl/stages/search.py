"""Search: run trials until the budget is spent, each step in the journal first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from automl.conductor.conductor import Conductor
from automl.errors import StudyError
from automl.jobs.costs import prepare_reference
from automl.records import TrialResult, TrialStatus
from automl.sampling.mirror import OptunaMirror
from automl.space.search_plan import plan_of
from automl.stages.screen import screen
from automl.stages.study import Study
from automl.store.journal import Journal
from automl.store.tables import write_trials


def search(study: Study, journal: Journal, *, clock: Callable[[], float]) -> list[TrialResult]:
    """Run what is left of the search and write `trials.parquet`; every ended trial.

    Raises:
        StudyError: too many trials failed in a row, or none can be ranked.
    """
    experiment, folder = study.experiment, study.folder
    conductor = Conductor(
        plan_of(experiment),
        journal,
        observer=study.narrator,
        clock=clock,
        mirror=OptunaMirror(folder.optuna_file, experiment.objectives, experiment.space),
        extra_points=screen(study),
    )
    try:
        prepare_reference(study.context)
        study.backend.run_trials(conductor, study.context, study.narrator.say)
    finally:
        write_trials(study.folder, conductor.results())
    results = conductor.results()
    if conductor.fault is not None:
        raise StudyError(conductor.fault)
    if not rankable(results):
        raise StudyError(_why_none(results))
    return results


def rankable(results: Sequence[TrialResult]) -> list[TrialResult]:
    """The trials that have trained weights to export: completed ones, then stopped ones."""
    return [
        result
        for status in (TrialStatus.COMPLETED, TrialStatus.STOPPED)
        for result in results
        if result.status is status and result.checkpoint is not None
    ]


def _why_none(results: Sequence[TrialResult]) -> str:
    reasons = [
        f"  trial {result.config.number}: {result.status}: {result.reason}" for result in results
    ]
    hint = "once the cause is gone, start anew with --overwrite"
    return "\n".join(["no trial ended with a trained network to rank:", *reasons, hint])
