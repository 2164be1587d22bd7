from dataclasses import replace

import pytest

from automl.errors import StudyError
from automl.jobs import retrain as jobs
from automl.jobs.retrain import RetrainJob, retrain, retrain_trial
from automl.jobs.trial import run_trial
from automl.training.checkpoint import load_checkpoint


@pytest.fixture
def job(context, config):
    """Make a job that trains one of three epochs."""

    def make(epochs=1, **values):
        of = context(train={"epochs": 3, "device": "cpu"})
        return RetrainJob(context=of, config=config(2, **values), epochs=epochs)

    return make


def test_a_trial_again_gives_what_it_gave(job, recorder, tmp_path, monkeypatch):
    of = job(epochs=2)
    monkeypatch.setattr("automl.jobs.trial.measure_costs", lambda _config, _context: ())
    first = recorder(stop_at=2)
    elsewhere = replace(of.context, study_root=tmp_path / "elsewhere")
    run_trial(of.config, elsewhere, first)
    heard = []
    retrain(of, lambda epoch, metrics: heard.append((epoch, dict(metrics))))
    told = [(m.epoch, dict(m.metrics)) for m in first.messages if m.kind == "epoch"]
    assert heard == told
    assert [epoch for epoch, _ in heard] == [1, 2]
    other = []
    retrain(
        replace(of, config=replace(of.config, seed=77)),
        lambda epoch, metrics: other.append((epoch, dict(metrics))),
    )
    assert other != heard


def test_what_is_trained_is_not_trained_again(job, monkeypatch):
    of = job()
    assert retrain_trial(of).summary == "trained to epoch 1"
    folder = of.context.folder.trial(of.config.trial_id) / "checkpoint"
    assert load_checkpoint(folder, "cpu").epoch == 1
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "retrain", lambda *_: pytest.fail("trained again"))
        assert retrain_trial(of).trained
        assert retrain_trial(of).summary == "trained before"
    further = retrain_trial(replace(of, epochs=2))
    assert further.summary == "trained to epoch 2"
    assert load_checkpoint(folder, "cpu").epoch == 2


def test_a_repetition_that_ends_early_is_trained(job, context, monkeypatch):
    early = {"epochs": 9, "device": "cpu", "early_stop": {"patience": 1, "min_delta": 1}}
    of = replace(job(epochs=5), context=context(train=early))
    outcome = retrain_trial(of)
    assert (outcome.trained, outcome.summary) == (True, "stopped early at epoch 2 of 9, best 1")
    monkeypatch.setattr(jobs, "retrain", lambda *_: pytest.fail("trained again"))
    assert retrain_trial(of).summary == "trained before"


def test_a_fault_is_told_in_the_outcome(job):
    of = job(encoder="no_such_encoder")
    outcome = retrain_trial(of)
    assert not outcome.trained
    assert outcome.summary.startswith("failed: ")
    log = of.context.folder.trial(of.config.trial_id) / "error.txt"
    assert str(log) in outcome.summary
    assert "Traceback" in log.read_text()


def test_a_fault_of_the_study_ends_the_job(job, monkeypatch):
    def refuse(*_arguments):
        raise StudyError("the disk is full")

    monkeypatch.setattr(jobs, "retrain", refuse)
    with pytest.raises(StudyError, match="disk is full"):
        retrain_trial(job())
