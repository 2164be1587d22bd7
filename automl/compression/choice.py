"""Which channels of which layers go, from their scores: arithmetic alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from automl.space.pruning import ScopeName

#: Widths of pruned layers are multiples of this: what CPU kernels are fastest at.
GRID = 8

MAX_RATIO = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredGroup:
    """Coupled channels: a score each, and the width that the ratio counts from.

    Grouped convolutions split them into `blocks` of equal size, which must all shrink alike.
    """

    scores: Tensor
    blocks: int
    full_width: int

    @property
    def of_block(self) -> Tensor:
        """The mean score of each place over the blocks."""
        return self.scores.detach().cpu().view(self.blocks, -1).mean(dim=0)


def kept_channels(channels: int, ratio: float, *, step: int = GRID) -> int:
    """How many of `channels` stay: the multiple of 8 nearest to their share, halves up.

    With a coarser `step`, which a grouped convolution forces, the next multiple above the share.
    At least `step`, at most `channels`; it never grows with `ratio`.
    """
    share = (1 - ratio) * channels / step
    steps = math.floor(share + 0.5) if step == GRID else math.ceil(share)
    return min(channels, max(1, steps) * step)


def least_important(group: ScoredGroup, ratio: float) -> list[int]:
    """The channels that go; the same number from each block, ties by place."""
    blocks = group.blocks
    size = len(group.scores) // blocks
    kept = kept_channels(group.full_width, ratio, step=math.lcm(GRID, blocks)) // blocks
    ranked = torch.sort(group.of_block, stable=True).indices
    going = ranked[: max(0, size - kept)].tolist()
    return sorted(block * size + place for block in range(blocks) for place in going)


def _same_share(groups: Sequence[ScoredGroup], ratio: float) -> list[float]:
    return [ratio] * len(groups)


def _share_by_rank(groups: Sequence[ScoredGroup], ratio: float) -> list[float]:
    """All channels in one order, in units of their group's mean; the last ones go.

    What went before counts, and from no group goes more than 90 %.
    """
    values, owners = [], []
    for number, group in enumerate(groups):
        score = group.of_block / group.of_block.mean().clamp_min(torch.finfo(torch.float32).tiny)
        values.append(score)
        owners += [number] * len(score)
    gone = [group.full_width - len(group.scores) for group in groups]
    wanted = ratio * sum(group.full_width for group in groups) - sum(gone)
    if values:
        for place in torch.sort(torch.cat(values), stable=True).indices.tolist():
            if wanted < groups[owners[place]].blocks:
                break
            number = owners[place]
            more = gone[number] + groups[number].blocks
            if more <= MAX_RATIO * groups[number].full_width:
                gone[number] = more
                wanted -= groups[number].blocks
    return [gone[i] / group.full_width for i, group in enumerate(groups)]


#: layer: the same share of every group; global: more of those whose channels matter less.
SHARES: Mapping[ScopeName, Callable[[Sequence[ScoredGroup], float], list[float]]] = {
    "layer": _same_share,
    "global": _share_by_rank,
}
