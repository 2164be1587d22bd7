import pytest
import torch
from torch import nn
from torch.nn import functional

from automl.measurement.cost import model_cost
from automl.models.build import build_model
from automl.records import ModelSpec


def test_a_convolution_costs_its_definition():
    layer = nn.Conv2d(3, 16, 3, stride=2, padding=1)
    params_m, macs_g = model_cost(layer, (32, 64))
    assert params_m == pytest.approx((3 * 16 * 9 + 16) / 1e6)
    assert macs_g == pytest.approx(16 * 32 * 16 * 3 * 9 / 1e9)


def test_a_grouped_convolution_sees_its_group_only():
    layer = nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 12, 3, padding=1, groups=12))
    _, macs_g = model_cost(layer, (8, 8))
    assert macs_g == pytest.approx((64 * 12 * 3 + 64 * 12 * 9) / 1e9)


def test_products_outside_of_modules_are_counted():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.zeros(4, 3, 1, 1))

        def forward(self, images_nchw):
            maps = functional.conv2d(images_nchw, self.kernel).flatten(2)
            return maps @ maps.transpose(1, 2)

    params_m, macs_g = model_cost(Bare(), (8, 8))
    assert params_m == pytest.approx(12 / 1e6)
    assert macs_g == pytest.approx((64 * 4 * 3 + 4 * 4 * 64) / 1e9)


def test_costs_agree_with_a_sum_over_hooked_layers():
    spec = ModelSpec(encoder="mobilenetv3_small_100", decoder="unet", decoder_width=32)
    model = build_model(spec, num_classes=4, size=(64, 96), seed=0).eval()
    macs = []

    def count(layer, _inputs, output):
        macs.append(output[0].numel() * layer.weight[0].numel())

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, 3, 64, 96))
    hooks_removed = build_model(spec, num_classes=4, size=(64, 96), seed=0)
    assert model_cost(hooks_removed, (64, 96))[1] == pytest.approx(sum(macs) / 1e9)


def test_the_model_is_given_back_as_it_was():
    spec = ModelSpec(encoder="test_resnet", decoder="fpn_lite", decoder_width=16)
    model = build_model(spec, num_classes=2, size=(64, 96), seed=0).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model_cost(model, (64, 64))
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
