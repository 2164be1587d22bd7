"""A disk that is full ends the study, fails no trial, and loses nothing."""

import errno
import os

import pytest

from automl.backend import LocalBackend
from automl.conductor.conductor import Conductor
from automl.conductor.observers import Observers
from automl.errors import StudyError, TrialError
from automl.jobs import compress, costs, trial
from automl.jobs.compress import CompressJob, compress_candidate
from automl.jobs.trial import run_trial
from automl.records import TrialStatus
from automl.space.search_plan import plan_of
from automl.store.journal import Journal
from automl.training import checkpoint


def full(*_args, **_options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def measured(monkeypatch):
    """Costs without a measurement."""
    monkeypatch.setattr(trial, "measure_costs", lambda _config, _context: ())


@pytest.mark.usefixtures("measured")
def test_a_full_disk_at_a_checkpoint_is_the_study_s_fault(context, config, recorder, monkeypatch):
    of, heard = context(), recorder()
    folder = of.folder.trial(config().trial_id)
    honest = checkpoint.save_file

    def fills_up(tensors, path):
        return full() if "epoch-00002" in str(path) else honest(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", fills_up)
        with pytest.raises(StudyError) as told:
            run_trial(config(), of, heard)
    assert str(told.value) == (
        f"{folder / 'checkpoint' / 'epoch-00002'}: cannot be written: No space left on device; "
        "all that is finished is kept: make room and run the same command again"
    )
    # No end is reported: the trial is not over.
    assert heard.kinds == ["costs", "epoch"]
    assert not (folder / "error.txt").exists()
    assert [path.name for path in (folder / "checkpoint").iterdir()] == ["epoch-00001"]
    # The same command again.
    again = recorder()
    run_trial(config(), of, again)
    assert [m.epoch for m in again.messages if m.kind == "epoch"] == [1, 2]
    assert again.messages[1].metrics == heard.messages[1].metrics
    assert again.messages[-1].status is TrialStatus.COMPLETED


def test_a_full_scratch_folder_is_none_of_the_trial_s_faults(
    context, config, recorder, monkeypatch
):
    monkeypatch.setattr(costs, "export_wrapped", full)
    heard = recorder()
    with pytest.raises(StudyError, match="or a scratch file: cannot be written: No space left"):
        run_trial(config(), context(), heard)
    assert heard.kinds == []


@pytest.mark.usefixtures("measured")
def test_a_full_disk_in_a_group_of_workers_is_known_by_its_words(context, config, recorder):
    def train(_run):
        raise TrialError("the worker group failed: ... StudyError: x: No space left on device; ...")

    heard = recorder()
    with pytest.raises(StudyError):
        run_trial(config(), context(), heard, train=train)
    assert heard.kinds == ["costs"]


@pytest.mark.usefixtures("measured")
def test_a_failure_that_cannot_even_be_written_down_is_kept_for_later(
    context, config, recorder, monkeypatch
):
    def train(_run):
        raise TrialError("the loss is nan")

    monkeypatch.setattr("automl.store.atomic.sync", full)
    heard = recorder()
    with pytest.raises(StudyError, match=r"error\.txt: cannot be written"):
        run_trial(config(), context(), heard, train=train)
    assert heard.kinds == ["costs"]


@pytest.mark.usefixtures("measured")
def test_a_study_stops_and_goes_on_as_if_it_had_not(context, monkeypatch):
    """Trial 1 meets the full disk: trial 0 stays, trial 1 is not failed, and is run again."""
    space = {"encoder": "mobilenetv3_small_050", "decoder_width": 16, "batch_size": 4}
    of = context(
        space={**space, "learning_rate": {"float": [1e-3, 1e-2]}},
        search={"trials": 3, "sampler": "random"},
        objectives={"miou": "maximize"},
        train={"epochs": 1, "device": "cpu"},
    )
    honest = checkpoint.save_file
    written = []

    def fills_up(tensors, path):
        written.append(path)
        return honest(tensors, path) if len(written) <= 2 else full()

    def search():
        with Journal(of.folder.journal_file) as journal:
            conductor = Conductor(
                plan_of(of.experiment), journal, observer=Observers(), clock=lambda: 0.0
            )
            try:
                LocalBackend(of.experiment).run_trials(conductor, of, print)
            finally:
                results.append(conductor.results())

    results = []
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", fills_up)
        with pytest.raises(StudyError, match="make room and run the same command again"):
            search()
    assert [(r.config.number, r.status) for r in results[0]] == [(0, TrialStatus.COMPLETED)]
    search()
    assert [r.config.number for r in results[1]] == [0, 1, 2]
    assert {r.status for r in results[1]} == {TrialStatus.COMPLETED}
    before, after = ({m.metric: m.value for m in r[0].measurements} for r in results)
    assert after == before


def test_a_compression_does_not_take_it_for_its_own_fault(context, config, monkeypatch):
    def trained(_job):
        full()

    monkeypatch.setattr(compress, "_trained", trained)
    with pytest.raises(StudyError, match="No space left on device"):
        compress_candidate(CompressJob(context=context(), config=config()))
