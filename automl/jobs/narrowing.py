"""Prune a trained network and fine-tune it: at once, or in steps with fine-tuning after each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from automl.compression.importance import loss_gradients
from automl.compression.prune import PruningRule, layer_widths, prune
from automl.data.dataset import Dataset
from automl.jobs.network import example_image
from automl.jobs.settings import combined_loss
from automl.models.build import SegmentationNet
from automl.records import Normalisation
from automl.space.parameters import TrialParameters
from automl.space.pruning import PruningSettings
from automl.training.evaluation import normalise

#: Trains a network in place for so many epochs; its checkpoints go to the folder.
Tune = Callable[[SegmentationNet, int, Path], None]

#: Images that gradients for taylor are made of, and how many at once.
_GRADIENT_IMAGES = 64
_GRADIENT_BATCH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowing:
    """What is pruned by how much and how; `params` say which loss the gradients are of."""

    ratio: float
    how: PruningSettings
    dataset: Dataset
    params: TrialParameters
    normalisation: Normalisation


def narrow(model: SegmentationNet, narrowing: Narrowing) -> SegmentationNet:
    """Prune a copy of a network to the ratio at once, without fine-tuning."""
    return _pruned(model, narrowing, narrowing.ratio, layer_widths(model))


def narrow_and_tune(
    model: SegmentationNet, narrowing: Narrowing, tune: Tune, *, epochs: int, folder: Path
) -> SegmentationNet:
    """Prune a copy of a network to the ratio, with a share of the epochs after each step.

    Step k of n leaves the share `(1 - ratio)^(k/n)` of every width, so each takes the same share of
    what is left. Checkpoints lie in `folder`, those of the last step in `checkpoint`; what is there
    already is not trained again, since pruning the same weights gives the same network.
    """
    steps, widths = narrowing.how.steps, layer_widths(model)
    for step, share in enumerate(shares_of(epochs, steps), start=1):
        ratio = 1 - (1 - narrowing.ratio) ** (step / steps) if step < steps else narrowing.ratio
        model = _pruned(model, narrowing, ratio, widths)
        place = folder / ("checkpoint" if step == steps else f"checkpoint-step{step}")
        tune(model, share, place)
    return model


def shares_of(epochs: int, steps: int) -> list[int]:
    """The epochs of each step; those left over go to the last one."""
    share, left = divmod(epochs, steps)
    return [share] * (steps - 1) + [share + left]


def _pruned(
    model: SegmentationNet, narrowing: Narrowing, ratio: float, widths: dict[str, int]
) -> SegmentationNet:
    how, info = narrowing.how, narrowing.dataset.info
    gradients = None
    if how.importance == "taylor" and ratio > 0:
        loss = combined_loss(narrowing.params, info)
        gradients = loss_gradients(model, _batches(narrowing), loss)
    rule = PruningRule(
        importance=how.importance if ratio > 0 else "group_norm",
        scope=how.scope,
        full_widths=widths,
        gradients=gradients,
    )
    return prune(model, example_image(info.size), ratio, rule)


def _batches(narrowing: Narrowing) -> Iterator[tuple[Tensor, Tensor]]:
    """Training images as they are, evenly spread over the split."""
    split = narrowing.dataset.split("train")
    count = min(_GRADIENT_IMAGES, len(split))
    rows = np.linspace(0, len(split) - 1, count).round().astype(int).tolist()
    for start in range(0, count, _GRADIENT_BATCH):
        some = rows[start : start + _GRADIENT_BATCH]
        images_nhwc = torch.from_numpy(np.stack([split.image(row) for row in some]))
        masks_nhw = torch.from_numpy(np.stack([split.mask(row) for row in some])).long()
        yield normalise(images_nhwc, narrowing.normalisation), masks_nhw
