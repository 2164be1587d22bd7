"""One training by hand: a study of one trial, trained to its end, exported and measured.

It goes through the search's own stages, so its folder is a study's: the same command continues it,
`automl reproduce` repeats it, and what it exports is measured as a search's files are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from automl.jobs.trained import write_trained
from automl.records import Candidate, TrialResult
from automl.stages.compress import compress
from automl.stages.continual import (
    ContinualReport,
    old_dataset,
    prepare_beginning,
    report_continual,
)
from automl.stages.export import write_bundles
from automl.stages.finalists import Repeats
from automl.stages.pipeline import record_environment_of
from automl.stages.rank import rank
from automl.stages.search import search
from automl.stages.starting_point import from_trial
from automl.stages.study import Study
from automl.stages.training_plan import Start
from automl.stages.views import Views, score_views
from automl.store.atomic import remove_abandoned
from automl.store.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What a training ended in: measured files, a verified bundle of each by name, the weights."""

    result: TrialResult
    candidates: tuple[Candidate, ...]
    bundles: dict[str, Path]
    weights: Path
    continual: ContinualReport | None
    views: Views | None = None


def train_once(study: Study, start: Start | None, *, clock: Callable[[], float]) -> TrainingReport:
    """Run what is left of a training, to its verified bundles, one for each precision.

    Raises:
        StudyError: the training failed, or nothing can be exported.
        UsageError: another process works in this folder, it holds another training, or the old
            data cannot be used.
    """
    if start is not None:
        assert study.dataset.info.classes == start.network.dataset.classes, "as it was imported"
    old = None if start is None else old_dataset(start)
    with Journal(study.folder.journal_file) as journal:
        remove_abandoned(study.folder.root)
        prepare_beginning(study, start, old)
        record_environment_of(study, journal)
        (result,) = search(study, journal, clock=clock)
        ranking = rank(study, compress(study, [result]))
        repeats = Repeats(metric=study.experiment.objectives[0].metric)
        named: dict[str, Candidate] = {c.lineage.precision: c for c in ranking.candidates}
        bundles = write_bundles(study, ranking, repeats, named)
        _keep_weights(study)
        continual = None if start is None else report_continual(study, old, named["fp32"])
        views = score_views(study, bundles)
    return TrainingReport(
        result=result,
        candidates=ranking.candidates,
        bundles=bundles,
        weights=study.folder.weights,
        continual=continual,
        views=views,
    )


def _keep_weights(study: Study) -> None:
    network, state = from_trial(study.folder.root / "0")
    write_trained(study.folder.weights, network, state)
