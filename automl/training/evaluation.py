"""Score a model on a split, over all ranks together.

Shapes: N batch, K classes, H and W pixels; `images_nhwc` uint8 RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from automl.data.batching import Batch, BatchSettings, epoch_batches
from automl.data.dataset import ArrowSplit
from automl.measurement.quality import SegmentationScores, confusion_matrix, scores
from automl.records import IGNORE, Normalisation
from automl.training.borrowing import evaluating, on_device
from automl.training.pieces import labels_on
from automl.training.precision import Precision, resolve_precision
from automl.training.ranks import compute_device, global_rank, sum_over_ranks, world_size
from automl.training.settings import EvaluationSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How good a model is on one split.

    `confusion_kk` counts pixels, row = label, column = prediction. `cross_entropy` is the mean
    over the labelled pixels of the whole split, in nats: unlike a training loss it compares
    between trials of different losses.
    """

    confusion_kk: npt.NDArray[np.int64]
    cross_entropy: float

    @property
    def scores(self) -> SegmentationScores:
        """The scores of the confusion matrix."""
        return scores(self.confusion_kk)


def normalise(images_nhwc: Tensor, normalisation: Normalisation) -> Tensor:
    """Turn uint8 images (N, H, W, 3) into float32 (N, 3, H, W) in channels-last strides.

    It is `(x - mean) / std` in units of 0 to 255, what the graph of a bundle computes.
    """
    mean_c, std_c = _mean_and_std(normalisation, images_nhwc.device)
    return torch.sub(images_nhwc, mean_c).div_(std_c).permute(0, 3, 1, 2)


@cache
def _mean_and_std(normalisation: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """Kept on the device, as sending them makes the host wait; plain tensors in any mode."""
    with torch.inference_mode(mode=False):
        mean_c = torch.tensor(normalisation.mean, dtype=torch.float32, device=device)
        return mean_c, torch.tensor(normalisation.std, dtype=torch.float32, device=device)


def evaluate(
    model: nn.Module, split: ArrowSplit, *, num_classes: int, settings: EvaluationSettings
) -> Evaluation:
    """Score `model` on every sample of `split` once; the same on every rank.

    Each rank takes its part of the samples, of any size, and the sums are exact. The model must
    be the same on every rank; it is given back in its device and modes. Raises ValueError for an
    empty split, UsageError for a device or precision that is not there.
    """
    if len(split) == 0:
        raise ValueError("the split to score has no samples")
    device = compute_device(settings.device)
    precision = resolve_precision(settings.precision, device)
    counts = _Counts(num_classes, device)
    with (
        on_device(model, device, settings.layout),
        evaluating(model),
        torch.inference_mode(),
    ):
        for batch in epoch_batches(split, _in_order(settings), epoch=0):
            if len(batch.images_nhwc):
                counts.add(model, batch, settings.normalisation, precision)
    return counts.over_all_ranks()


class _Counts:
    """Sums over pixels, which add up exactly over batches and ranks."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._device = device
        self._confusion_kk = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)
        self._lost_nats = torch.zeros((), dtype=torch.float64, device=device)

    def add(
        self, model: nn.Module, batch: Batch, normalisation: Normalisation, precision: Precision
    ) -> None:
        """Count one batch."""
        target_nhw = labels_on(self._device, batch.masks_nhw)
        images_nhwc = batch.images_nhwc.to(self._device, non_blocking=True)
        with precision.autocast():
            logits_nkhw = model(normalise(images_nhwc, normalisation))
        num_classes = len(self._confusion_kk)
        self._confusion_kk += confusion_matrix(logits_nkhw.argmax(1), target_nhw, num_classes)
        self._lost_nats += _lost_nats(logits_nkhw.float(), target_nhw)

    def over_all_ranks(self) -> Evaluation:
        """The evaluation of the whole split, on every rank."""
        confusion_kk = sum_over_ranks(self._confusion_kk).cpu().numpy()
        lost_nats = float(sum_over_ranks(self._lost_nats))
        labelled = max(1, int(confusion_kk.sum()))
        return Evaluation(confusion_kk=confusion_kk, cross_entropy=lost_nats / labelled)


def _lost_nats(logits_nkhw: Tensor, target_nhw: Tensor) -> Tensor:
    """The cross entropy of all labelled pixels, added up."""
    if logits_nkhw.is_cuda and torch.are_deterministic_algorithms_enabled():
        # Of pictures CUDA adds it up in varying order, of rows it does not.
        logits_nkhw, target_nhw = _as_rows(logits_nkhw, target_nhw)
    return F.cross_entropy(logits_nkhw, target_nhw, ignore_index=IGNORE, reduction="sum").double()


def _as_rows(logits_nkhw: Tensor, target_nhw: Tensor) -> tuple[Tensor, Tensor]:
    """Each pixel as a row of logits (N H W, K), and its label."""
    return logits_nkhw.permute(0, 2, 3, 1).flatten(0, 2), target_nhw.flatten()


def _in_order(settings: EvaluationSettings) -> BatchSettings:
    return BatchSettings(
        batch_size=settings.batch_size,
        global_rank=global_rank(),
        world_size=world_size(),
        loader_workers=settings.loader_workers,
        pinned=compute_device(settings.device).type == "cuda",
    )
