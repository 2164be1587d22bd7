"""What pre-training is told, beside what it trains."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from automl.data.dataset import open_dataset
from automl.data.writing import DatasetWriter
from automl.jobs import settings as job_settings
from automl.jobs.context import torch_threads
from automl.stages import pretrain as stage
from automl.stages.pretrain import PretrainingRequest, pretrain_encoder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("unlabelled")
    rng = np.random.default_rng(0)
    with DatasetWriter(root, classes=("a", "b"), size=(32, 32)) as writer:
        for name in ("train", "val", "test"):
            for number in range(5):
                mask = rng.integers(0, 2, (32, 32), dtype=np.uint8)
                image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                writer.add(name, f"{name}{number}", image, mask)
        writer.finish("noise", ignore_index=None)
    return open_dataset(root)


@pytest.fixture
def request_for(tmp_path):
    def make(**changes):
        return PretrainingRequest(
            encoder="mobilenetv3_small_050",
            out=tmp_path / "encoder.safetensors",
            epochs=2,
            batch_size=2,
            device="cpu",
            **changes,
        )

    return make


@pytest.mark.parametrize(
    ("declared", "device", "threads"),
    [
        ("auto", "cpu", 0),
        ("auto", "cuda", 3),
        ("fastest", "cuda", 3),
        (5, "cpu", 5),
        (0, "cuda", 0),
    ],
)
def test_loader_threads_are_as_many_as_those_of_a_training(
    declared, device, threads, dataset, request_for, monkeypatch
):
    monkeypatch.setattr(job_settings, "compute_device", lambda _name: torch.device(device))
    told = []

    def keep(_encoder, _dataset, settings, **_named):
        told.append(settings)
        raise InterruptedError

    monkeypatch.setattr(stage, "pretrain", keep)
    monkeypatch.setattr(stage, "available_cpus", lambda: 3)
    with torch_threads(1), pytest.raises(InterruptedError):
        pretrain_encoder(request_for(loader_workers=declared), dataset, lambda *_: None)
    assert [settings.loader_workers for settings in told] == [threads]


def test_what_is_learnt_and_what_goes_on_do_not_depend_on_loader_threads(
    dataset, request_for, monkeypatch
):
    """Interrupted after an epoch without threads, it goes on with two of them."""
    monkeypatch.setattr(stage, "available_cpus", lambda: 1)
    whole = request_for(loader_workers=0)
    pretrain_encoder(whole, dataset, lambda *_: None)
    expected = load_file(whole.out)
    whole.out.unlink()

    def interrupt(epoch, _loss):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        pretrain_encoder(whole, dataset, interrupt)
    heard = []
    pretrain_encoder(
        replace(whole, loader_workers=2), dataset, lambda epoch, _loss: heard.append(epoch)
    )
    assert heard == [2]
    found = load_file(whole.out)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
