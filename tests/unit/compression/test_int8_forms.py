"""Planted networks: what each rung is for, shown where it must matter."""

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import (
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from automl.bundle.network import export_network
from automl.bundle.runtime import open_core
from automl.compression.calibrate import Images, calibrate
from automl.compression.quantize import Int8Scheme, quantize_int8, quantized_operators
from automl.compression.sensitivity import LayerError, layer_errors, sensitive_layers
from automl.errors import TrialError

SIZE = (16, 24)


def images(count, seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(size=(1, 3, *SIZE)).astype(np.float32) for _ in range(count)]


def exported(net, path):
    export_network(net, size=SIZE, path=path)
    return path


def chain(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 4, 1),
        ).eval()


def error(core, int8):
    """The mean difference of logits, as a share of how much they differ between pixels."""
    before, after = open_core(core, threads=1), open_core(int8, threads=1)
    pairs = [(before.run(image), after.run(image)) for image in images(3, seed=9)]
    spread = [np.abs(a - a.mean((2, 3), keepdims=True)).mean() for a, _ in pairs]
    return sum(np.abs(a - b).mean() for a, b in pairs) / sum(spread)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """One output channel of a layer is huge, and the next layer makes as little of it again."""
    net = chain()
    with torch.no_grad():
        net[2].weight[0] *= 2000
        net[2].bias[0] *= 2000
        net[4].weight[:, 0] /= 2000
    return exported(net, tmp_path_factory.mktemp("uneven") / "core.onnx")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return exported(chain(), tmp_path_factory.mktemp("plain") / "core.onnx")


def test_per_channel_beats_per_tensor_where_channels_differ(tmp_path):
    net = chain()
    with torch.no_grad():  # the weights alone are uneven: what comes of it is evened out at once
        net[6].weight[0] *= 500
    core = exported(net, tmp_path / "core.onnx")
    for name, per_channel in (("tensor", False), ("channel", True)):
        scheme = Int8Scheme(per_channel=per_channel)
        quantize_int8(core, tmp_path / f"{name}.onnx", images(4), scheme)
    small = {
        name: _small_channels(core, tmp_path / f"{name}.onnx") for name in ("tensor", "channel")
    }
    assert small["channel"] < 0.7 * small["tensor"]


def _small_channels(core, int8):
    """The error of the channels whose weights are small beside the huge ones."""
    weights = {name: _dequantized(path) for name, path in (("core", core), ("int8", int8))}
    return np.abs(weights["core"][1:] - weights["int8"][1:]).mean()


def _dequantized(path):
    """The weights of the last convolution, whatever they are stored as."""
    model = onnx.load(path)
    made = {output: node for node in model.graph.node for output in node.output}
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}
    conv = [node for node in model.graph.node if node.op_type == "Conv"][-1]
    if conv.input[1] in constants:
        return constants[conv.input[1]]
    values, scale, zero = (constants[name] for name in made[conv.input[1]].input)
    shape = (-1, 1, 1, 1) if scale.ndim else ()
    return (values.astype(np.float32) - zero.reshape(shape)) * scale.reshape(shape)


def test_the_planted_outlier_ruins_int8_and_its_layer_is_found(uneven, plain, tmp_path):
    quantize_int8(uneven, tmp_path / "all.onnx", images(4))
    quantize_int8(plain, tmp_path / "plain.onnx", images(4))
    assert error(plain, tmp_path / "plain.onnx") < 0.1
    ruined = error(uneven, tmp_path / "all.onnx")
    assert ruined > 0.3
    errors = layer_errors(uneven, images(3))
    assert len(errors) == 4
    planted = {"/2/Conv", "/4/Conv"}  # the layer that makes the outlier, and the one that takes it
    kept = sensitive_layers(errors)
    assert set(kept) <= planted
    assert errors[0].error > 10 * max(e.error for e in errors if e.name not in planted)
    scheme = Int8Scheme(float_nodes=tuple(planted))
    quantize_int8(uneven, tmp_path / "mixed.onnx", images(4), scheme)
    assert error(uneven, tmp_path / "mixed.onnx") < 0.5 * ruined


def test_a_layers_error_is_that_of_the_network_with_it_alone_in_int8(plain, tmp_path):
    """By ONNX Runtime's own function, told to quantize one node."""
    given = images(3)
    prepared, alone = tmp_path / "prepared.onnx", tmp_path / "alone.onnx"
    quant_pre_process(plain, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        alone,
        Images("pixels_nchw", given),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        nodes_to_quantize=["/2/Conv"],
        op_types_to_quantize=quantized_operators(prepared),
    )
    before, after = open_core(plain, threads=1), open_core(alone, threads=1)
    exact = np.stack([before.run(image) for image in given]).astype(float)
    found = np.stack([after.run(image) for image in given]).astype(float)
    expected = ((exact - found) ** 2).sum() / (exact**2).sum()
    (own,) = [layer.error for layer in layer_errors(plain, given) if layer.name == "/2/Conv"]
    assert own == pytest.approx(expected, rel=1e-4)
    assert own > 0


def test_the_fewest_layers_that_make_up_half_of_the_error_are_kept():
    def layers(*errors):
        return [LayerError(name=str(i), error=e) for i, e in enumerate(errors)]

    assert sensitive_layers(layers(1, 9, 1, 1, 1, 1, 1, 1)) == ("1",)
    assert sensitive_layers(layers(4, 4, 4, 1, 1, 1, 1, 1)) == ("0", "1"), "a quarter at most"
    assert sensitive_layers(layers(1.0, 2.0)) == ("1",), "one at least"
    assert sensitive_layers(layers(0.0, 0.0, 0.0, 0.0)) == ("0",)


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_calibration_by_each_method_gives_ranges_inside_what_was_seen(plain, method, capfd):
    given = images(6)
    given[0][0, 0, 0, 0] = 40.0  # an outlier
    ranges = calibrate(plain, Images("pixels_nchw", given), method, ["Conv", "Relu"])
    low, high = ranges["pixels_nchw"]
    assert min(image.min() for image in given) <= low + 1e-6
    assert high <= 40.0
    if method != "entropy":  # which keeps what a histogram of few bins would lose by cutting
        assert (high == 40.0) == (method == "minmax"), "percentile leaves the outlier out"
    assert capfd.readouterr() == ("", "")


def test_minmax_ranges_are_the_smallest_and_largest_value_over_all_images(plain):
    given = images(7)
    low, high = calibrate(plain, Images("pixels_nchw", given), "minmax", ["Conv"])["pixels_nchw"]
    assert low == min(image.min() for image in given)
    assert high == max(image.max() for image in given)


def test_the_default_form_is_byte_for_byte_that_of_quantize_static(plain, tmp_path):
    prepared = tmp_path / "prepared.onnx"
    quant_pre_process(plain, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        tmp_path / "expected.onnx",
        Images("pixels_nchw", images(5)),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=quantized_operators(prepared),
        calibrate_method=CalibrationMethod.MinMax,
    )
    quantize_int8(plain, tmp_path / "own.onnx", images(5))
    assert (tmp_path / "own.onnx").read_bytes() == (tmp_path / "expected.onnx").read_bytes()


def test_learnt_ranges_replace_calibrated_ones(plain, tmp_path):
    scheme = Int8Scheme(ranges={"pixels_nchw": (-1.0, 4.1), "unknown": (0.0, 1.0)})
    quantize_int8(plain, tmp_path / "own.onnx", images(2), scheme)
    model = onnx.load(tmp_path / "own.onnx")
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}
    assert constants["pixels_nchw_scale"] == pytest.approx(5.1 / 255)
    assert constants["pixels_nchw_zero_point"] == 50


def test_nodes_that_are_kept_in_float_are_not_quantized(plain, tmp_path):
    quantize_int8(plain, tmp_path / "own.onnx", images(2), Int8Scheme(float_nodes=("/2/Conv",)))
    model = onnx.load(tmp_path / "own.onnx")
    conv = next(node for node in model.graph.node if node.name == "/2/Conv")
    assert conv.input[1] == "2.weight"


def test_images_of_another_shape_are_a_trial_error(plain):
    with pytest.raises(TrialError, match="its layers cannot be quantized alone"):
        layer_errors(plain, [np.zeros((1, 3, 4, 4), np.float32)])


def test_dynamic_quantization_leaves_convolutions_as_slow_integer_ones(plain, tmp_path):
    """What docs/quantization.md says of it: no static ranges, and the operator ConvInteger."""
    from onnxruntime.quantization import quantize_dynamic

    prepared = tmp_path / "prepared.onnx"
    quant_pre_process(plain, prepared, skip_symbolic_shape=True)
    quantize_dynamic(prepared, tmp_path / "dynamic.onnx", op_types_to_quantize=["Conv"])
    kinds = {node.op_type for node in onnx.load(tmp_path / "dynamic.onnx").graph.node}
    assert "ConvInteger" in kinds
    assert "Conv" not in kinds
