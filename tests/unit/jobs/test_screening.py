import json

import pytest
import torch

from automl.jobs import screening
from automl.jobs.context import torch_threads
from automl.jobs.network import build_network
from automl.jobs.screening import (
    ScreeningJob,
    architecture_of,
    probe_batch,
    screen_architecture,
)
from automl.measurement.proxies import PROXIES, proxy_scores
from automl.records import Measurement
from automl.space.parameters import parameters_from

COSTS = (Measurement(metric="latency_ms", value=4.0), Measurement(metric="size_mb", value=5.0))


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    """Costs without a measurement."""
    monkeypatch.setattr(screening, "measure_costs", lambda _config, _context: COSTS)


@pytest.fixture
def job(context, config):
    def make(*, search=None, constraints=None, **values):
        of = context(search=search or {}, constraints=constraints or {})
        return ScreeningJob(context=of, config=config(3, **values))

    return make


def test_a_network_is_scored_with_the_studys_seed_on_its_training_images(job, dataset):
    of = job(search={"seed": 5})
    outcome = screen_architecture(of)
    model = build_network(parameters_from(of.config.params), dataset.info, seed=5)
    batch = probe_batch(dataset, dataset.info.normalisation, seed=5)
    with torch_threads(of.context.threads):
        assert outcome.scores == proxy_scores(model, batch)
    assert list(outcome.scores) == list(PROXIES)
    assert (outcome.costs, outcome.fault) == (COSTS, None)


def test_what_a_network_is_trained_with_does_not_matter_and_it_is_scored_once(job, monkeypatch):
    first = screen_architecture(job())
    monkeypatch.setattr(screening, "build_network", lambda *_a, **_k: pytest.fail("scored again"))
    again = job(learning_rate=0.1, alpha=0.1, batch_size=8, augmentation="strong", optimizer="sgd")
    assert screen_architecture(again) == first


@pytest.mark.parametrize(
    "change",
    [
        {"decoder_width": 24},
        {"decoder": "fpn"},
        {"encoder": "resnet18"},
        {"pruning_ratio": 0.5},
        {"pretrained": True},
    ],
)
def test_another_architecture_has_another_key(config, change):
    assert architecture_of(config(**change).params) != architecture_of(config().params)


def test_an_infeasible_network_is_not_scored(job, monkeypatch):
    monkeypatch.setattr(screening, "build_network", lambda *_a, **_k: pytest.fail("scored"))
    outcome = screen_architecture(job(constraints={"size_mb": 4.5, "latency_ms": 9}))
    assert outcome.scores is None
    assert outcome.fault == "infeasible: size_mb"
    assert outcome.costs == COSTS


def test_a_fault_is_told_and_its_traceback_kept(job, monkeypatch):
    def fail(*_arguments, **_named):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(screening, "build_network", fail)
    of = job()
    outcome = screen_architecture(of)
    assert (outcome.scores, outcome.fault) == (None, "RuntimeError: out of memory")
    (log,) = of.context.folder.proxies.glob("*.error.txt")
    assert "Traceback" in log.read_text()


def test_scores_are_kept_as_json(job):
    of = job()
    outcome = screen_architecture(of)
    (file,) = of.context.folder.proxies.glob("*.json")
    assert json.loads(file.read_text()) == {"scores": outcome.scores}


def test_a_probe_has_distinct_training_images_with_their_masks_by_seed(dataset):
    norm = dataset.info.normalisation
    first, again, other = (probe_batch(dataset, norm, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.images_nchw, again.images_nchw)
    assert not torch.equal(first.images_nchw, other.images_nchw)
    assert first.images_nchw.shape == (8, 3, 32, 32), "all, where there are fewer than 16"
    assert len(torch.unique(first.images_nchw, dim=0)) == 8
    assert first.target_nhw.shape == (8, 32, 32)
    red = first.images_nchw[:, 0] - first.images_nchw[:, 2]
    assert float(red[first.target_nhw == 1].mean()) > float(red[first.target_nhw == 0].mean()) + 1


def test_the_loss_of_a_probe_is_the_cross_entropy(dataset):
    batch = probe_batch(dataset, dataset.info.normalisation, seed=0)
    logits = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.cross_entropy(logits, batch.target_nhw)
    assert torch.allclose(batch.loss(logits, batch.target_nhw), expected)
