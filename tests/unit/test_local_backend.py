import pytest

from automl import backend
from automl.backend import LocalBackend
from automl.conductor.here import ConductorReporter
from automl.errors import UsageError
from automl.jobs.context import JobContext
from automl.records import TrialConfig, TrialMessage, Verdict
from automl.space.experiment import Experiment


def experiment_of(**train):
    return Experiment.from_json({"space": {"alpha": 0.5}, "train": {"device": "cpu", **train}})


def context_of(tmp_path):
    return JobContext(
        experiment=experiment_of(),
        study_root=tmp_path,
        dataset_root=tmp_path,
        threads=1,
    )


class FakeConductor:
    """Proposes three trials, and keeps what is reported."""

    def __init__(self):
        self.waiting = [TrialConfig(number=n, seed=n, params={}) for n in range(3)]
        self.heard = []

    def next_trial(self):
        return self.waiting.pop(0) if self.waiting else None

    def handle(self, trial_id, message):
        self.heard.append((trial_id, message))
        return Verdict.STOP


def test_trials_run_one_after_another_until_there_are_no_more(monkeypatch, tmp_path):
    ran = []

    def run_trial(config, context, reporter):
        ran.append((config.number, len(conductor.waiting), reporter.conductor is conductor))

    monkeypatch.setattr(backend, "run_trial", run_trial)
    conductor = FakeConductor()
    LocalBackend(experiment_of()).run_trials(conductor, context_of(tmp_path), print)
    assert ran == [(0, 2, True), (1, 1, True), (2, 0, True)]


def test_several_workers_a_trial_need_ray():
    with pytest.raises(UsageError, match=r"train.workers: given 2; allowed without Ray: 1"):
        LocalBackend(experiment_of(workers=2))


def test_a_report_reaches_the_conductor_and_its_verdict_comes_back():
    conductor = FakeConductor()
    config = TrialConfig(number=0, seed=0, params={})
    message = TrialMessage(kind="epoch", seconds=1.0, epoch=1)
    assert ConductorReporter(conductor).report(config, message) is Verdict.STOP
    assert conductor.heard == [(config.trial_id, message)]


def test_jobs_are_run_when_asked_for_and_in_order():
    ran = []

    def job(item):
        ran.append(item)
        return item * 10

    answers = LocalBackend(experiment_of()).map_jobs(job, [1, 2])
    assert ran == []
    assert next(answers) == (1, 10)
    assert ran == [1]
    assert list(answers) == [(2, 20)]


def test_it_says_where_it_runs():
    local = LocalBackend(experiment_of())
    assert local.threads_per_job() >= 1
    assert local.describe().startswith("cpu: this process")
    assert f"{local.threads_per_job()} CPU threads" in local.describe()
    local.close()
