"""An encoder without a decoder, with all of its feature maps."""

from __future__ import annotations

import torch

from automl.models.encoders import TimmEncoder, build_encoder, describe_encoder

_OUTPUT_STRIDE = 32


def bare_encoder(name: str, size: tuple[int, int], *, seed: int) -> tuple[TimmEncoder, int]:
    """The encoder `name` of timm from scratch, for images of `size`; the channels of its last map.

    The same seed gives the same weights. Raises UsageError for a name that timm does not have, or
    that gives no feature maps of this size.
    """
    description = describe_encoder(name, _OUTPUT_STRIDE, size)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        encoder = build_encoder(
            name,
            output_stride=_OUTPUT_STRIDE,
            size=size,
            positions=tuple(range(len(description.strides))),
            pretrained=False,
        )
    return encoder, description.channels[-1]
