"""The parameters of the network."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from automl.space.limits import Limits

NETWORK: Mapping[str, Limits] = MappingProxyType(
    {
        "encoder": Limits(
            kind="text",
            description="Feature encoder, by its timm name (timm.list_models lists them).",
        ),
        "decoder": Limits(
            kind="text",
            options=("fpn_lite", "fpn", "unet", "deeplabv3plus"),
            description="Decoder that turns the encoder's features into per-pixel logits.",
        ),
        "decoder_width": Limits(
            kind="int",
            low=16,
            high=512,
            multiple=8,
            description="Channels of the decoder (for unet: of its widest block).",
        ),
        "pretrained": Limits(
            kind="flag_or_text",
            description="Encoder weights: false (from scratch), true (timm's, needs a download), "
            "or the path of a weights file.",
        ),
        "init": Limits(
            kind="text",
            options=("default", "kaiming", "xavier", "orthogonal"),
            description="How weights from scratch are drawn; default: as the encoder's library and "
            "the decoder do.",
        ),
        "head_bias": Limits(
            kind="text",
            options=("zero", "prior"),
            description="Where the biases of the logits start; prior: at the classes' shares of "
            "the pixels.",
        ),
        "pruning_ratio": Limits(
            kind="float",
            low=0.0,
            high=0.9,
            description="Share of channels removed from the network before it is trained.",
        ),
    }
)
