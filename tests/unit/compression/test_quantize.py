import logging
import tempfile

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from automl.bundle.network import export_network
from automl.bundle.runtime import open_core, open_session
from automl.bundle.wrap import wrap_network
from automl.compression.quantize import quantize_int8
from automl.errors import TrialError
from automl.records import Normalisation

SIZE = (32, 40)


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.Hardswish(),
            nn.Conv2d(64, 4, 1),
        )
    with torch.no_grad():  # channels of very different scale: per-tensor weights would lose them
        net[3].weight *= torch.logspace(-3, 0, 64)[:, None, None, None]
    path = tmp_path_factory.mktemp("core") / "core.onnx"
    export_network(net, size=SIZE, path=path)
    return path


def images(count, seed=0):
    random = np.random.default_rng(seed)
    return (random.normal(size=(1, 3, *SIZE)).astype(np.float32) for _ in range(count))


@pytest.fixture(scope="module")
def int8(core, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "int8.onnx"
    quantize_int8(core, path, images(6))
    return path


def test_quantized_network_nearly_computes_what_the_network_does(core, int8):
    before, after = (open_core(path, threads=1) for path in (core, int8))
    for image_nchw in images(3, seed=9):
        expected_nkhw = before.run(image_nchw)
        difference = np.abs(after.run(image_nchw) - expected_nkhw).mean()
        assert difference < 0.02 * np.ptp(expected_nkhw)
        assert difference > 0


def test_weights_are_int8_per_channel_and_activations_uint8(int8):
    graph = onnx.load(int8).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    weights = [
        (constants[node.input[0]], constants[node.input[1]])
        for node in graph.node
        if node.op_type == "DequantizeLinear"
        and node.input[0] in constants
        and len(constants[node.input[0]].dims) == 4
    ]
    assert len(weights) == 3
    for weight, scale in weights:
        assert weight.data_type == TensorProto.INT8
        assert numpy_helper.to_array(scale).shape == (weight.dims[0],)
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert quantizers
    assert {constants[node.input[2]].data_type for node in quantizers} == {TensorProto.UINT8}


def test_quantized_network_is_smaller_and_can_be_wrapped(core, int8, tmp_path):
    assert int8.stat().st_size < 0.6 * core.stat().st_size
    normalisation = Normalisation(mean=(127.0, 127.0, 127.0), std=(64.0, 64.0, 64.0))
    wrap_network(
        int8, tmp_path / "model.onnx", normalisation=normalisation, size=SIZE, num_classes=4
    )
    session = open_session(tmp_path / "model.onnx", threads=1)
    assert session.run(np.zeros((50, 60, 3), np.uint8)).shape == (50, 60)


def test_same_network_and_images_give_the_same_bytes(core, int8, tmp_path):
    quantize_int8(core, tmp_path / "again.onnx", images(6))
    assert (tmp_path / "again.onnx").read_bytes() == int8.read_bytes()


def test_calibration_decides_the_ranges(core, int8, tmp_path):
    louder = (10 * image_nchw for image_nchw in images(6))
    quantize_int8(core, tmp_path / "louder.onnx", louder)
    assert (tmp_path / "louder.onnx").read_bytes() != int8.read_bytes()


def test_nothing_is_printed_logged_or_left_behind(core, tmp_path, monkeypatch, capfd, caplog):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    filters = list(logging.getLogger().filters)
    quantize_int8(core, tmp_path / "int8.onnx", images(2))
    assert not list(scratch.iterdir())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["int8.onnx", "scratch"]
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert logging.getLogger().filters == filters


def test_without_images_it_is_a_trial_error(core, tmp_path):
    with pytest.raises(TrialError, match="calibration needs at least 1 image, got none"):
        quantize_int8(core, tmp_path / "int8.onnx", iter(()))
    assert not list(tmp_path.iterdir())


def test_images_of_another_shape_are_a_trial_error(core, tmp_path):
    wrong = iter([np.zeros((1, 3, 8, 8), np.float32)])
    with pytest.raises(TrialError, match="cannot be quantized with 1 images"):
        quantize_int8(core, tmp_path / "int8.onnx", wrong)
    assert not list(tmp_path.iterdir())
