import copy

import numpy as np
import pytest
import torch
from torch import nn

from automl.bundle.network import export_network, parity
from automl.errors import TrialError

SIZE = (32, 48)


@pytest.fixture
def images_nchw():
    return np.random.default_rng(1).normal(size=(3, 3, *SIZE)).astype(np.float32)


def test_export_computes_what_the_network_does(net, core, images_nchw):
    assert parity(net, core, images_nchw) < 1e-5


def test_export_of_another_network_is_refused(net, core, images_nchw):
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[3].bias += 0.5
    with pytest.raises(TrialError, match=r"differ by up to 0\.5"):
        parity(other, core, images_nchw)


def test_network_with_nan_is_refused(net, tmp_path):
    broken = copy.deepcopy(net)
    with torch.no_grad():
        broken[3].bias[1] = float("nan")
    with pytest.raises(TrialError, match="differ by up to nan"):
        export_network(broken, size=SIZE, path=tmp_path / "core.onnx")
    assert not list(tmp_path.iterdir())


def test_same_network_gives_the_same_bytes(net, core, tmp_path):
    export_network(net, size=SIZE, path=tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == core.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["again.onnx"]


def test_network_in_training_mode_is_exported_in_evaluation_mode_and_given_back(
    net, core, tmp_path, images_nchw
):
    model = copy.deepcopy(net).train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export_network(model, size=SIZE, path=tmp_path / "core.onnx")
    parity(model, tmp_path / "core.onnx", images_nchw)
    assert [part.training for part in model.modules()] == [True, True, False, True, True]
    assert [p.requires_grad for p in model.parameters()] == [False] + [True] * 5
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert (tmp_path / "core.onnx").read_bytes() == core.read_bytes()


class DataDependent(nn.Module):
    """Traced with the branch that a blank image takes, which others must not."""

    def forward(self, images_nchw):
        return images_nchw + 1 if images_nchw.abs().sum() > 0 else images_nchw


def test_export_that_computes_something_else_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(TrialError, match=r"differ by up to 1;"):
        export_network(DataDependent(), size=SIZE, path=tmp_path / "core.onnx")
    assert not list(tmp_path.iterdir())


class Unexportable(nn.Module):
    def forward(self, images_nchw):
        return torch.special.bessel_j0(images_nchw)


def test_network_that_onnx_cannot_express_is_a_trial_error_and_leaves_nothing(tmp_path):
    with pytest.raises(TrialError, match=r"Unexportable cannot be exported to ONNX: .*bessel_j0"):
        export_network(Unexportable(), size=SIZE, path=tmp_path / "core.onnx")
    assert not list(tmp_path.iterdir())
