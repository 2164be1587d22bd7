from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from automl.errors import StudyError
from automl.jobs.stopwatch import StopwatchHere
from automl.records import Measurement, TrialMessage, TrialStatus
from automl.stages import search as stage
from automl.stages.search import search
from automl.store.journal import Journal, read_journal


class ScriptedBackend:
    """Gives each trial the end that the script has for it."""

    def __init__(self, *ends):
        self._ends = iter(ends)

    def threads_per_job(self):
        return 1

    def stopwatch(self):
        return StopwatchHere()

    def run_trials(self, conductor, context, say):
        while (config := conductor.next_trial()) is not None:
            end = next(self._ends)
            if isinstance(end, BaseException):
                raise end
            costs = (Measurement(metric="latency_ms", value=1.0),)
            tell = [TrialMessage(kind="costs", seconds=1.0, measurements=costs)]
            if end is TrialStatus.COMPLETED:
                tell += [TrialMessage(kind="epoch", seconds=2.0, epoch=1, metrics={"miou": 0.5})]
            reason = None if end is TrialStatus.COMPLETED else "for a reason"
            tell += [TrialMessage(kind="end", seconds=3.0, status=end, reason=reason)]
            for message in tell:
                conductor.handle(config.trial_id, message)


@pytest.fixture
def run(study, monkeypatch):
    """Search with a script; the study and what came of it."""
    monkeypatch.setattr(stage, "prepare_reference", lambda _context: None)

    def go(*ends, trials):
        of = made[0] if made else study(search={"trials": trials}, train={"epochs": 1})
        made[:] = [replace(of, backend=ScriptedBackend(*ends))]
        with Journal(of.folder.journal_file) as journal:
            return search(made[0], journal, clock=lambda: 0.0)

    made = []
    go.study = made
    return go


def rows(of):
    return pq.read_table(of.folder.trials_table).to_pylist()


def test_every_ended_trial_is_returned_and_in_the_table(run):
    results = run(TrialStatus.COMPLETED, TrialStatus.FAILED, trials=2)
    assert [result.status for result in results] == [TrialStatus.COMPLETED, TrialStatus.FAILED]
    assert [row["status"] for row in rows(run.study[0])] == ["completed", "failed"]


def test_no_trained_network_ends_the_study_with_every_reason(run):
    with pytest.raises(StudyError) as caught:
        run(TrialStatus.FAILED, TrialStatus.INFEASIBLE, trials=2)
    assert "no trial ended with a trained network" in str(caught.value)
    assert "trial 0: failed: for a reason" in str(caught.value)
    assert "trial 1: infeasible: for a reason" in str(caught.value)


def test_a_fault_of_the_study_is_told_even_where_a_trial_could_be_ranked(run):
    ends = [TrialStatus.COMPLETED] + [TrialStatus.FAILED] * 10
    with pytest.raises(StudyError, match="10 trials in a row failed"):
        run(*ends, trials=20)
    assert len(rows(run.study[0])) == 11


def test_an_interrupted_search_leaves_its_table_and_goes_on(run):
    with pytest.raises(KeyboardInterrupt):
        run(TrialStatus.COMPLETED, KeyboardInterrupt(), trials=2)
    assert len(rows(run.study[0])) == 1
    results = run(TrialStatus.COMPLETED, trials=2)
    assert [result.config.number for result in results] == [0, 1]
    proposed = [
        e for e in read_journal(run.study[0].folder.journal_file) if e["kind"] == "proposed"
    ]
    assert len(proposed) == 2
