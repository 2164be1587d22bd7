"""The decoders that a trial can name, and what each needs from an encoder.

`fpn`, `unet` and `deeplabv3plus` are the decoders of segmentation-models-pytorch behind our own
encoder, with the changes that their builders name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from types import MappingProxyType

from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPPPooling, DeepLabV3PlusDecoder
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn

from automl.models.encoders import EncoderFeatures
from automl.models.fpn_lite import FpnLite

#: Channels of one group of a GroupNorm. Source: Wu and He 2018, table 3 (fixed channels a group).
GROUP_CHANNELS = 8

_RGB = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderKind:
    """How to build a decoder.

    The maps at `strides` must all be there; those at `optional` are used where the encoder has
    them. `output_stride` is what the encoder is asked for, `stride` that of the decoder's result.
    `build` takes the features that were chosen and the width, and returns the decoder and the
    channels of its result.
    """

    build: Callable[[EncoderFeatures, int], tuple[nn.Module, int]]
    stride: int
    strides: tuple[int, ...]
    optional: tuple[int, ...] = ()
    output_stride: int = 32


class SumMaps(nn.Module):
    """Adds maps of one shape; smp stacks them first, which quantized runtimes cannot fuse."""

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Give the sum."""
        return reduce(add, maps)


class UnetSteps(nn.Module):
    """smp's U-Net blocks for encoders with or without a map at stride 2."""

    def __init__(self, blocks: nn.ModuleList) -> None:
        super().__init__()
        self.blocks = blocks

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Go from the coarsest map to stride 1; features come finest first."""
        *skips, result = features
        for block in self.blocks:
            skip = skips.pop() if skips else None
            height, width = result.shape[2] * 2, result.shape[3] * 2
            result = block(result, height, width, skip)
        return result


class DeepLabSteps(nn.Module):
    """smp's DeepLabV3+ decoder, fed with the two maps that it uses: strides 4 and 16."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Give the fused map at stride 4."""
        fine, coarse = features
        result: Tensor = self.decoder([fine, fine, fine, coarse])
        return result


def _fpn_lite(features: EncoderFeatures, width: int) -> tuple[nn.Module, int]:
    return FpnLite(features.channels, width), width


def _fpn(features: EncoderFeatures, width: int) -> tuple[nn.Module, int]:
    """Pyramid of `width` channels, segmentation branch of half of it (Kirillov et al. 2019).

    smp's GroupNorm has 32 groups: it refuses most small widths, and where it does not, its
    channels cannot be pruned. Here a group has 8 channels, whatever the width.
    """
    branch = _multiple_of_8(width // 2)
    # smp builds only multiples of 32; every block that depends on it is replaced below.
    buildable = -(-branch // 32) * 32
    decoder = FPNDecoder(
        encoder_channels=[_RGB, *features.channels],
        encoder_depth=len(features.channels),
        pyramid_channels=width,
        segmentation_channels=buildable,
    )
    for branch_of_level in decoder.seg_blocks:
        for place, step in enumerate(branch_of_level.block):
            step.block = nn.Sequential(
                nn.Conv2d(width if place == 0 else branch, branch, 3, padding=1, bias=False),
                nn.GroupNorm(branch // GROUP_CHANNELS, branch),
                nn.ReLU(inplace=True),
            )
    decoder.merge = SumMaps()
    return decoder, branch


def _unet(features: EncoderFeatures, width: int) -> tuple[nn.Module, int]:
    """Blocks of 4, 2, 1, 1/2 and 1/4 times `width`; a width of 64 is smp's own U-Net."""
    counts = [_multiple_of_8(width * quarters // 4) for quarters in (16, 8, 4, 2, 1)]
    at_stride_2 = () if 2 in features.strides else (0,)
    decoder = UnetDecoder(
        encoder_channels=[_RGB, *at_stride_2, *features.channels],
        decoder_channels=counts,
        n_blocks=len(counts),
    )
    return UnetSteps(decoder.blocks), counts[-1]


def _deeplabv3plus(features: EncoderFeatures, width: int) -> tuple[nn.Module, int]:
    """Atrous rates 6, 12 and 18, the paper's for output stride 16 (Chen et al. 2018, sec. 4).

    The norm of the image-level branch sees one value a channel and image, so a batch of one could
    not train: that branch has a bias in its place, as in detectron2.
    """
    decoder = DeepLabV3PlusDecoder(
        # smp reads the places of strides 4 and 16 only.
        encoder_channels=[_RGB, 0, features.channels[0], features.channels[-1]],
        encoder_depth=5,
        out_channels=width,
        atrous_rates=(6, 12, 18),
        output_stride=16,
        aspp_separable=True,
        aspp_dropout=0.1,
    )
    for module in decoder.modules():
        if isinstance(module, ASPPPooling):
            module[1] = nn.Conv2d(features.channels[-1], width, 1)
            module[2] = nn.Identity()
    return DeepLabSteps(decoder), width


def _multiple_of_8(count: int) -> int:
    """The nearest multiple of 8, at least 8; halves go up."""
    return max(8, (count + 4) // 8 * 8)


DECODERS: Mapping[str, DecoderKind] = MappingProxyType(
    {
        "fpn_lite": DecoderKind(build=_fpn_lite, stride=4, strides=(4, 8, 16, 32)),
        "fpn": DecoderKind(build=_fpn, stride=4, strides=(4, 8, 16, 32)),
        "unet": DecoderKind(build=_unet, stride=1, strides=(4, 8, 16, 32), optional=(2,)),
        "deeplabv3plus": DecoderKind(
            build=_deeplabv3plus, stride=4, strides=(4, 16), output_stride=16
        ),
    }
)
