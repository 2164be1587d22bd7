"""Shares of a GPU, as far as they can be decided without one."""

from types import SimpleNamespace

import pytest

from automl.space.experiment import Experiment
from automl.store.atomic import write_json
from automl.store.layout import StudyFolder


@pytest.fixture
def sharing():
    from automl.distributed import connection

    connection.prepare_environment()
    return pytest.importorskip("automl.distributed.gpu_sharing")


def context_of(root, **train):
    experiment = Experiment.from_json({"space": {"encoder": "resnet18"}, "train": train})
    return SimpleNamespace(experiment=experiment, folder=StudyFolder(root))


def test_what_was_measured_is_a_fact_of_the_study(sharing, tmp_path):
    """No Ray runs here: nothing is measured again."""
    from automl.planning.groups import Group

    kept = {"share": 0.33, "peak_bytes": 2**30, "total_bytes": 24 * 2**30}
    write_json(tmp_path / "gpu_share.json", kept)
    context = context_of(tmp_path, gpu_share="auto")
    group, line = sharing.narrowed(Group(workers=1, gpus=0.25), context)
    assert group == Group(workers=1, gpus=0.33)
    assert line == (
        "gpu share  0.33 of a GPU a trial: the networks measured took up to 1024 of 24576 MiB"
    )


@pytest.mark.parametrize(("gpus", "share"), [(0.0, "auto"), (0.5, 0.5), (1.0, 1)])
def test_nothing_is_measured_on_cpus_or_where_the_share_is_declared(sharing, tmp_path, gpus, share):
    from automl.planning.groups import Group

    group = Group(workers=1, gpus=gpus)
    assert sharing.narrowed(group, context_of(tmp_path, gpu_share=share)) == (group, None)


@pytest.mark.parametrize(
    ("train", "on_gpu", "gpus"),
    [
        ({}, True, 1.0),
        ({}, False, 0.0),
        ({"gpu_share": 0.5}, True, 0.5),
        ({"gpu_share": 0.5}, False, 0.0),
        ({"gpu_share": "auto"}, True, 0.25),
    ],
)
def test_until_it_is_measured_a_share_counts_as_the_smallest(train, on_gpu, gpus):
    from automl.planning.groups import group_of

    settings = context_of("nowhere", **train).experiment.train
    assert group_of(settings, on_gpu=on_gpu).gpus == gpus


@pytest.mark.parametrize(
    ("share", "there", "capped"),
    [
        (0.5, True, [0.5 - 800 / 16000]),
        (0.25, True, [0.25 - 800 / 16000]),
        (0.5, False, []),
        (1.0, True, []),
        (0.0, True, []),
    ],
)
def test_a_process_may_take_no_more_than_its_share(sharing, monkeypatch, share, there, capped):
    found = []
    cuda = SimpleNamespace(is_available=lambda: there, set_per_process_memory_fraction=found.append)
    monkeypatch.setattr(sharing, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(
        sharing, "CudaMemory", lambda: SimpleNamespace(total_bytes=lambda: 16000 * 2**20)
    )
    sharing.cap_memory(share)
    assert found == pytest.approx(capped)
