"""What a network is, read from its modules instead of from what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder

from automl.models.build import SegmentationNet
from automl.models.decoders import DeepLabSteps, UnetSteps
from automl.models.fpn_lite import FpnLite


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """A decoder's class, and the channels of a layer that has `times` the decoder's width."""

    kind: type[object]
    channels: Callable[[Any], int]
    times: int = 1


_DECODERS: Mapping[str, _Reading] = MappingProxyType(
    {
        "fpn_lite": _Reading(kind=FpnLite, channels=lambda net: net.laterals[0].out_channels),
        "fpn": _Reading(kind=FPNDecoder, channels=lambda net: net.p5.out_channels),
        "unet": _Reading(
            kind=UnetSteps, channels=lambda net: net.blocks[0].conv1[0].out_channels, times=4
        ),
        "deeplabv3plus": _Reading(
            kind=DeepLabSteps, channels=lambda net: net.decoder.aspp[0].convs[0][0].out_channels
        ),
    }
)


def encoder_in(model: SegmentationNet) -> str:
    """The name of the encoder's architecture, as timm labels what it built."""
    network: Any = model.encoder.model
    return str(network.pretrained_cfg["architecture"])


def decoder_in(model: SegmentationNet) -> str:
    """The name of the decoder, by its class; the class's own name where it is none of ours."""
    for name, reading in _DECODERS.items():
        if type(model.decoder) is reading.kind:
            return name
    return type(model.decoder).__name__


def map_channels_in(model: SegmentationNet, size: tuple[int, int]) -> tuple[int, ...]:
    """The channels of the encoder's maps, finest first, found with a blank image of `size`.

    Modes and running statistics stay as they are.
    """
    modes = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            maps = model.eval().encoder(torch.zeros(1, 3, *size, device=device))
    finally:
        for module, mode in modes.items():
            module.training = mode
    return tuple(int(features_nchw.shape[1]) for features_nchw in maps)


def decoder_channels_in(model: SegmentationNet) -> tuple[int, int]:
    """Channels of a layer of the decoder, and how many times the width it has before pruning.

    Raises KeyError for a decoder that is none of ours.
    """
    reading = _DECODERS[decoder_in(model)]
    return reading.channels(model.decoder), reading.times
