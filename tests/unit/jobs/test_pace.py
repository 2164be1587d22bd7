"""How long a trial would take, on a clock that ticks once whenever it is read."""

import itertools

import pytest
import torch

from automl.jobs import pace
from automl.jobs.pace import PaceJob, measure_pace
from automl.records import Measurement

COSTS = (Measurement(metric="size_mb", value=5.0), Measurement(metric="latency_ms", value=250.0))


@pytest.fixture(autouse=True)
def _ticking(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(pace, "_clock", lambda _device, _threads: lambda: next(ticks))
    monkeypatch.setattr(pace, "measure_costs", lambda _config, _context: COSTS)


def test_an_epoch_is_its_batches_and_a_scoring_all_of_val(context, config):
    before = torch.get_num_threads()
    job = PaceJob(context=context(), config=config(number=3), batches=5)
    found = measure_pace(job).pace
    # A tick a step: 8 images are 2 batches. A tick for the one batch of val, which is all of it.
    assert (found.number, found.epoch_s, found.step_spread) == (3, 2.0, 0.0)
    assert found.evaluation_s == 1.0
    assert found.image_s == 0.25
    assert found.costs == COSTS
    assert found.infeasible is None
    assert torch.get_num_threads() == before


def test_what_is_trained_on_less_is_timed_on_all(context, config):
    search = {"fidelity": {"data_share": [0.5, 1]}, "min_epochs": 1}
    job = PaceJob(context=context(search=search), config=config(), batches=2)
    assert measure_pace(job).pace.epoch_s == 2.0


def test_a_network_that_breaks_a_constraint_is_not_trained(context, config, monkeypatch):
    monkeypatch.setattr(pace, "trainee_of", lambda *_: pytest.fail("nothing may be built"))
    job = PaceJob(context=context(constraints={"size_mb": 2}), config=config(), batches=2)
    found = measure_pace(job).pace
    assert found.infeasible == "size_mb 5 > 2"
    assert (found.epoch_s, found.evaluation_s) == (0.0, 0.0)


def test_nothing_is_left_in_the_trials_folder(context, config):
    made = context()
    measure_pace(PaceJob(context=made, config=config(), batches=1))
    assert not list(made.folder.root.rglob("*.safetensors"))
