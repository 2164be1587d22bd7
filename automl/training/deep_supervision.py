"""Deep supervision: coarser maps of the encoder predict the labels, too, while it trains.

Shapes: N batch, K classes, C channels, H and W pixels, h and w cells of a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from automl.training.steps import SupervisedLoss


class MapsNet(Protocol):
    """A network that also gives the maps of its encoder; an `nn.Module`."""

    def forward_with_maps(self, images_nchw: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """The logits (N, K, H, W) and maps (N, C, h, w), finest first."""


class DeepSupervision(SupervisedLoss):
    """A loss of the logits, plus `weight` times its mean over logits of coarser maps.

    Every map but the finest has a head: a 1x1 convolution, enlarged to the size of the labels.
    Source: Lee et al. 2015 (deeply-supervised nets, arXiv:1409.5185); Zhao et al. 2017
    (PSPNet, arXiv:1612.01105), section 4, where the weight is 0.4 and the heads are dropped
    after training. Here they are part of the loss: trained and kept in checkpoints with it, and no
    part of the network that is measured, pruned and exported.
    """

    def __init__(
        self,
        loss: nn.Module,
        *,
        weight: float,
        map_channels: Sequence[int],
        num_classes: int,
        seed: int,
    ) -> None:
        super().__init__(loss)
        if not weight > 0:
            raise ValueError(f"weight must be positive, got {weight}")
        self.weight = weight
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.heads = nn.ModuleList(
                nn.Conv2d(channels, num_classes, 1) for channels in map_channels[1:]
            )

    def forward(self, model: nn.Module, images_nchw: Tensor, target_nhw: Tensor) -> Tensor:
        """The loss of the network's logits and of those of its maps, a scalar."""
        logits_nkhw, maps = cast("MapsNet", model).forward_with_maps(images_nchw)
        loss: Tensor = self.loss(logits_nkhw, target_nhw)
        for head, features_nchw in zip(self.heads, maps[1:], strict=True):
            coarse_nkhw = head(features_nchw)
            fine_nkhw = F.interpolate(
                coarse_nkhw, size=target_nhw.shape[-2:], mode="bilinear", align_corners=False
            )
            loss = loss + self.weight / len(self.heads) * self.loss(fine_nkhw, target_nhw)
        return loss
