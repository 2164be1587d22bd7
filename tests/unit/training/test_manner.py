"""A network runs in the manner that is asked for, and everything is as it was afterwards."""

import copy
import os

import pytest
import torch

from automl.training import manner as manner_module
from automl.training.borrowing import evaluating, on_device
from automl.training.loop import fit
from automl.training.manner import Manner, in_manner, is_compiled, uncompiled


@pytest.fixture
def counted(monkeypatch):
    """Have a compiler that counts the calls of what it compiled, in place of the real one."""
    calls = []

    def compiler(function, **options):
        def run(*given):
            calls.append(options)
            return function(*given)

        return run

    monkeypatch.setattr(torch, "compile", compiler)
    return calls


def test_unknown_layouts_are_refused():
    with pytest.raises(ValueError, match="layout must be one of channels_last, contiguous"):
        Manner(layout="nhwc")


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
def test_weights_and_images_lie_in_the_layout(layout, tiny_net):
    model, seen = tiny_net(), []
    form = manner_module.LAYOUTS[layout]
    images_nchw = torch.rand(2, 16, 16, 3).permute(0, 3, 1, 2)
    with on_device(model, torch.device("cpu"), layout):
        model.body.register_forward_hook(
            lambda module, inputs, output: seen.extend([inputs[0], module.weight, output])
        )
        model(images_nchw)
    assert all(tensor.is_contiguous(memory_format=form) for tensor in seen)
    assert len(seen) == 3


def test_layouts_train_alike(dataset, settings_for, supervised, tiny_net, recorder):
    found = {}
    for layout in ("channels_last", "contiguous"):
        settings = settings_for(manner=Manner(layout=layout))
        model = tiny_net(norm=True)
        found[layout] = fit(
            model, dataset, settings, step_loss=copy.deepcopy(supervised), reporter=recorder()
        )
        seen = model.body.weight
        assert seen.is_contiguous(memory_format=manner_module.LAYOUTS[layout])
        assert not model._forward_pre_hooks
    first, second = found.values()
    assert first.losses == pytest.approx(second.losses, rel=1e-4)


def test_only_training_runs_compiled(tiny_net, counted):
    model = tiny_net()
    images_nchw = torch.rand(1, 3, 16, 16)
    with in_manner(model, Manner(compiled=True)):
        assert is_compiled(model)
        model(images_nchw)
        assert len(counted) == 1
        assert counted[0] == {"fullgraph": True, "dynamic": False}
        with evaluating(model):
            model(images_nchw)
        with uncompiled(model):
            model(images_nchw)
            assert not is_compiled(model)
        assert len(counted) == 1
        assert is_compiled(model)
        # A copy, such as an average of the weights, runs its own code.
        twin = copy.deepcopy(model)
        twin(images_nchw)
        assert len(counted) == 1
    assert not is_compiled(model)
    model(images_nchw)
    assert len(counted) == 1


def test_a_fit_runs_its_steps_compiled_and_gives_the_same_bits(
    dataset, settings_for, supervised, tiny_net, recorder, counted
):
    def trained(compiled):
        settings = settings_for(manner=Manner(compiled=compiled))
        return fit(
            tiny_net(), dataset, settings, step_loss=copy.deepcopy(supervised), reporter=recorder()
        )

    plain = trained(False)
    assert counted == []
    assert trained(True).losses == plain.losses
    # 10 images in batches of 4, for 3 epochs; val and its 7 images run as written.
    assert len(counted) == 6


@pytest.mark.parametrize("before", [False, True])
def test_deterministic_is_set_and_given_back(before, tiny_net, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    torch.use_deterministic_algorithms(before, warn_only=before)
    torch.backends.cudnn.benchmark = True
    try:
        with in_manner(tiny_net(), Manner(deterministic=True)):
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
            assert not torch.backends.cudnn.benchmark
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert torch.are_deterministic_algorithms_enabled() is before
        assert torch.is_deterministic_algorithms_warn_only_enabled() is before
        assert torch.backends.cudnn.benchmark
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    finally:
        torch.use_deterministic_algorithms(mode=False)
        torch.backends.cudnn.benchmark = False


def test_a_workspace_of_the_users_own_stays(tiny_net, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with in_manner(tiny_net(), Manner(deterministic=True)):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_deterministic_training_gives_the_usual_bits_on_a_cpu(
    dataset, settings_for, supervised, tiny_net, recorder
):
    def losses(deterministic):
        settings = settings_for(manner=Manner(deterministic=deterministic))
        loss = copy.deepcopy(supervised)
        return fit(tiny_net(), dataset, settings, step_loss=loss, reporter=recorder()).losses

    assert losses(True) == losses(False)
