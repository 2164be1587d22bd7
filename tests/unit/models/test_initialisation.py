import math

import pytest
import torch
from torch import nn

from automl.models.build import build_model
from automl.models.initialisation import INITS, LEAST_SHARE, prior_bias, redraw
from automl.records import ModelSpec
from automl.space.parameter_table import PARAMETERS

LAYERS = {
    "dense": nn.Conv2d(64, 128, 3),
    "pointwise": nn.Conv2d(256, 64, 1),
    "grouped": nn.Conv2d(64, 128, 3, groups=4),
    "depthwise": nn.Conv2d(512, 512, 3, groups=512),
    "linear": nn.Linear(200, 100),
}


def fans(layer):
    """Counted: the inputs that reach an output, the outputs that an input reaches."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    places = math.prod(layer.kernel_size)
    return (
        layer.in_channels // layer.groups * places,
        layer.out_channels // layer.groups * places,
    )


def drawn(layer, kind, seed=0):
    redraw(nn.ModuleDict({"layer": layer}), kind, seed)
    return layer.weight.detach().clone()


def test_the_ways_are_those_of_the_space():
    assert {"default", *INITS} == set(PARAMETERS["init"].options)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("kind", ["kaiming", "xavier"])
def test_weights_have_the_variance_of_the_formula(name, kind):
    layer = LAYERS[name]
    fan_in, fan_out = fans(layer)
    wanted = 2 / fan_out if kind == "kaiming" else 2 / (fan_in + fan_out)
    weight = drawn(layer, kind)
    assert float(weight.var()) == pytest.approx(wanted, rel=0.06)
    assert abs(float(weight.mean())) < 4 * math.sqrt(wanted / weight.numel())


@pytest.mark.parametrize("name", LAYERS)
def test_orthogonal_rows_or_columns_of_each_group(name):
    layer = LAYERS[name]
    weight = drawn(layer, "orthogonal")
    groups = getattr(layer, "groups", 1)
    for part in weight.chunk(groups):
        matrix = part.flatten(1).double()
        gram = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
        torch.testing.assert_close(gram, 2 * torch.eye(len(gram)).double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", INITS)
def test_a_layer_has_the_same_weights_whatever_surrounds_it(kind):
    alone, among = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)
    among = nn.ModuleDict({"b": nn.Linear(5, 5), "a": among.to(memory_format=torch.channels_last)})
    state = torch.get_rng_state()
    redraw(nn.ModuleDict({"a": alone}), kind, 3)
    redraw(among, kind, 3)
    assert torch.equal(alone.weight, among["a"].weight)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(drawn(nn.Conv2d(8, 8, 3), kind, 4), drawn(alone, kind, 3))


def test_norms_biases_and_zeroed_residuals_stay():
    spec = ModelSpec(encoder="resnet18", decoder="fpn_lite", decoder_width=16)
    model = build_model(spec, num_classes=3, size=(64, 64), seed=0)
    before = {name: value.clone() for name, value in model.named_parameters()}
    redraw(model.encoder, "orthogonal", 0)
    for name, value in model.named_parameters():
        is_drawn = name.startswith("encoder") and value.ndim > 1
        assert torch.equal(value, before[name]) != is_drawn, name
    assert float(model.encoder.model.layer1[0].bn2.weight.detach().abs().sum()) == 0


def test_first_probabilities_are_the_shares_of_the_classes():
    head = nn.Conv2d(8, 4, 1)
    prior_bias(head, (0.9, 0.0999, 0.0001, 0.0))
    found = head.bias.softmax(0).tolist()
    total = 0.9 + 0.0999 + 0.0001 + LEAST_SHARE
    wanted = [share / total for share in (0.9, 0.0999, 0.0001, LEAST_SHARE)]
    assert found == pytest.approx(wanted, rel=1e-5)
