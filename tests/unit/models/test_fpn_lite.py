import pytest
import torch
from torch import nn

from automl.models.fpn_lite import FpnLite, SeparableBlock

CHANNELS = (16, 24, 48, 96)


def pyramid(height: int = 16, width: int = 24) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, count, height >> level, width >> level, generator=generator)
        for level, count in enumerate(CHANNELS)
    ]


def test_the_result_has_the_finest_maps_size_and_the_width():
    assert FpnLite(CHANNELS, 40)(pyramid()).shape == (2, 40, 16, 24)


@pytest.mark.parametrize("level", range(4))
def test_every_level_reaches_the_result(level):
    features = pyramid()
    features[level].requires_grad_()
    FpnLite(CHANNELS, 16).eval()(features).sum().backward()
    assert float(features[level].grad.abs().sum()) > 0


def test_a_missing_level_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        FpnLite(CHANNELS, 16)(pyramid()[:3])


def test_parameters_are_those_of_separable_convolutions():
    width = 24
    block = sum(p.numel() for p in SeparableBlock(width, width).parameters())
    assert block == 9 * width + width * width + 4 * width
    laterals = sum(count * width + width for count in CHANNELS)
    assert sum(p.numel() for p in FpnLite(CHANNELS, width).parameters()) == laterals + 5 * block


def test_spatial_mixing_is_depthwise_only():
    spatial = [
        m
        for m in FpnLite(CHANNELS, 16).modules()
        if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)
    ]
    assert spatial
    assert all(m.groups == m.in_channels == m.out_channels for m in spatial)
