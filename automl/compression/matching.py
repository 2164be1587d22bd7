"""Feature matching: the stages of a student's encoder learn to give what its teacher's give.

Shapes: N batch, C feature channels, h and w cells of a stage's map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

#: (C, h, w) of each stage's map, finest first.
StageShapes = Sequence[tuple[int, int, int]]

_TINY = 1e-12


def matching_loss(student_nchw: Tensor, teacher_nchw: Tensor) -> Tensor:
    """Half the mean squared difference, in units of the teacher's mean square.

    Source: Romero et al. 2015 (arXiv:1412.6550), eq. 3, as a mean over elements. Divided by the
    teacher's own size, one weight does for stages of any scale. Half precisions are computed in
    float32.
    """
    student, teacher = _full(student_nchw), _full(teacher_nchw)
    unit = teacher.square().mean().clamp_min(_TINY)
    return (student - teacher).square().mean() / (2 * unit)


class FeatureMatching(nn.Module):
    """The mean of `matching_loss` over the stages that student and teacher have at the same size.

    Where the numbers of channels differ a 1x1 convolution, trained beside the student, brings the
    student's to the teacher's; it is no part of the student and ships with nothing. Raises
    ValueError where no stage has the same size.
    """

    def __init__(self, student: StageShapes, teacher: StageShapes, *, seed: int) -> None:
        super().__init__()
        self.pairs = tuple(
            (i, j)
            for i, mine in enumerate(student)
            for j, other in enumerate(teacher)
            if mine[1:] == other[1:]
        )
        if not self.pairs:
            raise ValueError(f"no stage of {list(student)} is as large as one of {list(teacher)}")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.adapters = nn.ModuleList(
                _adapter(student[i][0], teacher[j][0]) for i, j in self.pairs
            )

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """The loss of the maps of all stages, a scalar."""
        losses = [
            matching_loss(adapter(student[i]), teacher[j])
            for (i, j), adapter in zip(self.pairs, self.adapters, strict=True)
        ]
        return torch.stack(losses).mean()


def stage_shapes(model: nn.Module, size: tuple[int, int]) -> list[tuple[int, int, int]]:
    """The shapes of an encoder's maps, found with one image of zeros of `size` (height, width).

    The network is given back in its modes; no running statistics change.
    """
    modes = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            image_nchw = torch.zeros(1, 3, *size, device=device)
            maps = cast("Any", model.eval()).forward_with_stages(image_nchw)[2]
    finally:
        for module, mode in modes.items():
            module.training = mode
    return [(m.shape[1], m.shape[2], m.shape[3]) for m in maps]


def _adapter(mine: int, other: int) -> nn.Module:
    return nn.Identity() if mine == other else nn.Conv2d(mine, other, kernel_size=1)


def _full(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
