"""Which machines are planned for, and what becomes of networks that cannot be timed."""

import dataclasses
from pathlib import Path

import pytest

from automl.errors import StudyError, TrialError, UsageError
from automl.jobs.pace import PaceOutcome
from automl.measurement.pace import NetworkPace
from automl.planning.request import PlanOptions, Request
from automl.space.experiment import Experiment
from automl.stages import probe as stage
from automl.stages.plan import target_of
from automl.stages.probe import ProbeSettings, first_trials, probe_study

AWS = Path(__file__).parents[3] / "cluster" / "aws.yaml"


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


def request_of(**given):
    usual = {field.name: None for field in dataclasses.fields(PlanOptions)}
    return Request.parse(PlanOptions(**(usual | {"node_start": "6m"} | given)))


def experiment_of(**sections):
    return Experiment.from_json({"space": {"alpha": {"float": [0.0, 1.0]}}} | sections)


def test_gpus_that_nobody_has_timed_need_a_speed():
    experiment = experiment_of()
    with pytest.raises(UsageError, match="--speedup: missing; g6"):
        target_of(experiment, request_of(cluster=AWS), probed_there=False)
    given = target_of(experiment, request_of(cluster=AWS, speedup="6-12"), probed_there=False)
    assert given.conditions.speedup == (6, 12)
    assert not given.conditions.probed_there
    there = target_of(experiment, request_of(cluster=AWS), probed_there=True)
    assert there.conditions.speedup == (1, 1)
    assert there.conditions.probed_there


def test_what_the_probe_measures_there_needs_no_declared_speed(tmp_path):
    prices = tmp_path / "prices.yaml"
    text = (AWS.parent / "prices.yaml").read_text()
    prices.write_text(text.replace("spot: 0.45, devices: 1", "spot: 0.45, devices: 1, speed: 12"))
    request = request_of(cluster=AWS, prices=prices)
    experiment = experiment_of()
    assert target_of(experiment, request, probed_there=False).conditions.speedup == (12, 12)
    assert target_of(experiment, request, probed_there=True).conditions.speedup == (1, 1)


def test_machines_like_this_one_need_none():
    target = target_of(experiment_of(), request_of(nodes="1,3"), probed_there=False)
    assert target.counts == (1, 3)
    assert target.machines.rates is None
    assert target.conditions.probed_there


def test_a_trial_that_does_not_fit_is_refused_before_any_probe():
    wide = experiment_of(train={"workers": 4})
    with pytest.raises(UsageError, match=r"train.workers: given 4; allowed here: at most 2"):
        target_of(wide, request_of(cluster=AWS, speedup="9", nodes="2"), probed_there=False)


def test_the_networks_are_the_first_of_the_search():
    experiment = experiment_of(search={"trials": 2, "points": [{"alpha": 0.25}]})
    found = first_trials(experiment, 5)
    assert [config.number for config in found] == [0, 1]
    assert found[0].params == experiment.space.default()
    assert found[1].params["alpha"] == 0.25


@pytest.fixture
def probing(monkeypatch, study, tmp_path):
    """Probe three networks, each of which does what `answers` says by number."""
    monkeypatch.setattr(stage, "prepare_reference", lambda _context: None)
    monkeypatch.setattr(stage, "_process_seconds", lambda: 3.0)

    def run(answers):
        def measure(job):
            answer = answers[job.config.number]
            if isinstance(answer, Exception):
                raise answer
            pace = NetworkPace(
                number=job.config.number, params={}, setup_s=1.0, costs=(), image_s=0.1, **answer
            )
            return PaceOutcome(pace=pace, device="cpu", waited=0.5)

        monkeypatch.setattr(stage, "measure_pace", measure)
        made = study()
        said = []
        settings = ProbeSettings(networks=3, threads=1, scratch=tmp_path)
        found = probe_study(made.experiment, made.dataset, made.backend, settings, said.append)
        return found, said

    return run


def test_a_network_that_fails_is_told_and_left_out(probing):
    found, said = probing([{"epoch_s": 2.0}, TrialError("loss is nan"), {"infeasible": "size"}])
    assert [network.number for network in found.networks] == [0, 2]
    assert [network.number for network in found.feasible] == [0]
    assert found.images == {"train": 6, "val": 3, "test": 2}
    assert (found.process_s, found.waited) == (3.0, 0.5)
    assert any("trial 1 cannot be timed: TrialError: loss is nan" in line for line in said)


def test_where_nothing_can_be_timed_or_kept_there_is_no_plan(probing):
    with pytest.raises(StudyError, match="no network"):
        probing([TrialError("x")] * 3)
    with pytest.raises(UsageError, match="every network that was probed breaks a constraint"):
        probing([{"infeasible": "size_mb 30 > 20"}] * 3)
