"""A feature pyramid that is cheap on a CPU.

Legend: N batch, C channels of an encoder's map, D the decoder's width, H and W pixels.

Source: the top-down pathway of Lin et al. 2017 (Feature Pyramid Networks) and the summed
semantic branch of Kirillov et al. 2019 (Panoptic FPN), with every 3x3 convolution made depthwise
separable (Howard et al. 2017). The branch is summed from the coarsest level up, two-fold at a
time, so that no map is enlarged further than to the next level.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class SeparableBlock(nn.Sequential):
    """Depthwise 3x3, norm, ReLU, pointwise 1x1, norm, ReLU: (N, C, H, W) to (N, D, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class FpnLite(nn.Module):
    """Maps at strides 4, 8, 16 and 32 in, one map (N, D, H/4, W/4) out.

    1x1 laterals bring each map to `width` channels, nearest-neighbour doubling carries the coarse
    ones down, one separable block smooths each level, and the smoothed levels are summed at
    stride 4 and fused by another separable block.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.smooths = nn.ModuleList(SeparableBlock(width, width) for _ in channels)
        self.fuse = SeparableBlock(width, width)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Fuse the maps, which come finest first, each twice as large as the next."""
        lateral_maps = [
            lateral(feature) for lateral, feature in zip(self.laterals, features, strict=True)
        ]
        coarse = lateral_maps[-1]
        fused = self.smooths[-1](coarse)
        for level in range(len(lateral_maps) - 2, -1, -1):
            # Factors instead of sizes: an exported graph then holds no shape arithmetic.
            coarse = lateral_maps[level] + functional.interpolate(
                coarse, scale_factor=2.0, mode="nearest"
            )
            fused = self.smooths[level](coarse) + functional.interpolate(
                fused, scale_factor=2.0, mode="bilinear", align_corners=False
            )
        result: Tensor = self.fuse(fused)
        return result
