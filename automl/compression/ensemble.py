"""Several trained networks as one teacher.

Shapes: N batch, K classes, C channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from automl.records import Normalisation


class Ensemble(nn.Module):
    """Teaches the mean of its members' probabilities, softened by a temperature T.

    Its logits are `T * log(mean over members of softmax(logits / T))`, so that their own softmax at
    T is that mean, and a loss of a teacher's logits need not know of it (Hinton et al. 2015,
    section 3). Features and stages, which have no mean over networks of different shapes, are those
    of the first member.
    """

    def __init__(self, members: Sequence[nn.Module], temperature: float) -> None:
        super().__init__()
        if not members or not temperature > 0:
            raise ValueError(f"needs members and T > 0, got {len(members)} and {temperature}")
        self.members = nn.ModuleList(members)
        self.temperature = temperature

    def forward(self, images_nchw: Tensor) -> Tensor:
        """The logits (N, K, H, W)."""
        return self.forward_with_stages(images_nchw)[0]

    def forward_with_features(self, images_nchw: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and the first member's features."""
        return self.forward_with_stages(images_nchw)[:2]

    def forward_with_stages(self, images_nchw: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """The logits, and the first member's features and stages."""
        first, *others = self.members
        logits, features, stages = cast("Any", first).forward_with_stages(images_nchw)
        every = [logits, *(member(images_nchw) for member in others)]
        log_each = torch.stack([torch.log_softmax(z.float() / self.temperature, 1) for z in every])
        log_mean = torch.logsumexp(log_each, 0) - torch.log(torch.tensor(float(len(every))))
        return self.temperature * log_mean, features, stages


class Renormalised(nn.Module):
    """A network at work on images that were normalised for another one."""

    scale_13hw: Tensor
    shift_13hw: Tensor

    def __init__(self, network: nn.Module, own: Normalisation, given: Normalisation) -> None:
        super().__init__()
        self.network = network
        mine, other = _columns(own), _columns(given)
        self.register_buffer("scale_13hw", other[1] / mine[1])
        self.register_buffer("shift_13hw", (other[0] - mine[0]) / mine[1])

    def forward(self, images_nchw: Tensor) -> Tensor:
        """The network's logits."""
        logits: Tensor = self.network(self._own(images_nchw))
        return logits

    def forward_with_features(self, images_nchw: Tensor) -> Any:
        """The network's logits and features."""
        return cast("Any", self.network).forward_with_features(self._own(images_nchw))

    def forward_coarse(self, images_nchw: Tensor) -> Any:
        """The network's logits before enlargement, and its features."""
        return cast("Any", self.network).forward_coarse(self._own(images_nchw))

    def forward_with_stages(self, images_nchw: Tensor) -> Any:
        """The network's logits, features and stages."""
        return cast("Any", self.network).forward_with_stages(self._own(images_nchw))

    def _own(self, images_nchw: Tensor) -> Tensor:
        return images_nchw * self.scale_13hw + self.shift_13hw


def _columns(normalisation: Normalisation) -> tuple[Tensor, Tensor]:
    mean, std = torch.tensor(normalisation.mean), torch.tensor(normalisation.std)
    return mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)


def teaching_together(
    networks: Sequence[tuple[nn.Module, Normalisation]], given: Normalisation, temperature: float
) -> nn.Module:
    """Trained networks, each with its own normalisation, as one teacher of images as `given`."""
    members = [
        network if own == given else Renormalised(network, own, given) for network, own in networks
    ]
    return members[0] if len(members) == 1 else Ensemble(members, temperature)
