"""Fake quantization in training against ONNX Runtime's QDQ network, and against its definition."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from automl.bundle.network import export_network
from automl.bundle.runtime import open_core
from automl.compression.fold import fold_batch_norms
from automl.compression.qat import FakeQuantization, InputRange, ranges_in_export
from automl.compression.quantize import Int8Scheme, quantize_int8
from automl.errors import TrialError

SIZE = (16, 24)

#: Share of the values that must be equal once both are rounded to the output's own uint8 levels;
#: the others, which lay between two levels, may be off by one.
EQUAL = 0.99


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 4, 1),
        ).eval()


def images(count, seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(size=(1, 3, *SIZE)).astype(np.float32) for _ in range(count)]


def test_what_training_computes_is_what_onnx_runtime_will(net, tmp_path):
    folded = fold_batch_norms(net, torch.zeros(1, 3, *SIZE))
    rounding = FakeQuantization(folded)
    folded.train()
    with torch.no_grad():
        for image in images(20):
            folded(torch.from_numpy(image))
        folded.eval()
        given = images(4, seed=9)
        expected = [folded(torch.from_numpy(image)).numpy() for image in given]
    learnt = rounding.remove()
    export_network(folded, size=SIZE, path=tmp_path / "core.onnx")
    ranges = ranges_in_export(tmp_path / "core.onnx", learnt)
    assert len(ranges) == 3
    quantize_int8(
        tmp_path / "core.onnx", tmp_path / "int8.onnx", images(20), Int8Scheme(ranges=ranges)
    )
    session = open_core(tmp_path / "int8.onnx", threads=1)
    exact = open_core(tmp_path / "core.onnx", threads=1)
    found = _levels([session.run(image) for image in given], tmp_path / "int8.onnx")
    as_trained = np.abs(_levels(expected, tmp_path / "int8.onnx") - found)
    assert (as_trained == 0).mean() > EQUAL
    assert as_trained.max() <= 1
    in_float = np.abs(_levels([exact.run(i) for i in given], tmp_path / "int8.onnx") - found)
    assert (in_float == 0).mean() < 0.9, "without rounding inside, the network computes otherwise"


def _levels(logits, int8):
    """Logits as levels of the quantized network's output."""
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in onnx.load(int8).graph.initializer}
    scale, zero = constants["logits_nkhw_scale"], int(constants["logits_nkhw_zero_point"])
    return np.clip(np.round(np.concatenate(logits) / scale) + zero, 0, 255).astype(int)


def test_an_input_is_rounded_as_by_its_definition():
    """q = clamp(round(x / s) + z, 0, 255), x' = (q - z) s; s = (high - low) / 255, z = -low / s."""
    layer = InputRange()
    values = torch.linspace(-1.0, 3.0, 101)
    layer.train()
    layer(values)
    layer.eval()
    given = np.linspace(-2, 4, 77).astype(np.float32)
    scale = 4.0 / 255
    zero = round(1.0 / scale)
    expected = (np.clip(np.round(given / scale) + zero, 0, 255) - zero) * scale
    np.testing.assert_allclose(layer(torch.from_numpy(given)).numpy(), expected, atol=scale * 0.01)


def test_a_range_follows_batches_in_training_alone_and_holds_0():
    layer = InputRange().train()
    layer(torch.tensor([1.0, 2.0]))
    assert (float(layer.low), float(layer.high)) == (0.0, 2.0)
    layer(torch.tensor([-1.0, 4.0]))
    assert float(layer.low) == pytest.approx(-0.1)
    assert float(layer.high) == pytest.approx(2.2)
    layer.eval()
    layer(torch.tensor([-9.0, 9.0]))
    assert float(layer.high) == pytest.approx(2.2)


def test_the_gradient_passes_straight_through_inside_the_range_and_is_0_beyond():
    layer = InputRange().train()
    layer(torch.tensor([-1.0, 1.0]))
    layer.eval()
    values = torch.tensor([-3.0, -0.5, 0.25, 2.0], requires_grad=True)
    layer(values).sum().backward()
    assert values.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_weights_come_back_as_trained_and_nothing_is_left(net):
    folded = fold_batch_norms(net, torch.zeros(1, 3, *SIZE))
    before = {name: value.clone() for name, value in folded.state_dict().items()}
    rounding = FakeQuantization(folded)
    assert not torch.equal(folded[3].weight, before["3.weight"])
    rounding.remove()
    after = folded.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not folded[3]._forward_pre_hooks


def test_folding_computes_the_same_and_leaves_the_model_alone(net):
    given = torch.from_numpy(images(1)[0])
    expected = net(given)
    folded = fold_batch_norms(net, torch.zeros(1, 3, *SIZE))
    torch.testing.assert_close(folded(given), expected, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert isinstance(net[1], nn.BatchNorm2d)


def test_a_convolution_whose_output_goes_elsewhere_too_is_no_fault():
    """Folding would change what the second reader gets: the check sees it."""

    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.norm = nn.BatchNorm2d(4)
            self.norm.running_mean += 3

        def forward(self, images_nchw):
            made = self.conv(images_nchw)
            return self.norm(made) + made

    net = Forked().eval()
    with pytest.raises(TrialError, match="folding batch norms changes the output"):
        fold_batch_norms(net, torch.zeros(1, 3, *SIZE))
