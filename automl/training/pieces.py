"""A batch in pieces that fit into memory, with gradients that add up to those of the batch.

The loss of a piece counts by the piece's share of its batch. What is a mean over images then is
exactly that of the whole batch, and so is a mean over weighted pixels (focal loss, cross entropy,
smoothed or with more weight near boundaries) where the loss says what a piece weighs. Three things
differ from the whole batch: a loss of regions (Dice, generalised Dice, Lovász) is that of each
piece, averaged, because its sums and its order over the batch do not split; OHEM takes the hardest
share of the pixels of each piece, which then counts by all of its pixels; and a batch norm takes
the statistics of each piece, and moves its running ones once a piece. With `sync_batch_norm` these
are of one piece on each rank, taken together.

Shapes: N batch, H and W pixels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from automl.data.batching import Batch
from automl.training.ranks import sum_over_ranks


@runtime_checkable
class WeighsPixels(Protocol):
    """A loss that is a mean over pixels, and can say what it divides by."""

    def weight(self, target_nhw: Tensor) -> Tensor:
        """The sum, a scalar, of the weights of these pixels."""


def split_batch(batch: Batch, count: int) -> list[Batch]:
    """The images of a batch in `count` pieces of nearly equal size, in order."""
    images = batch.images_nhwc.tensor_split(count)
    masks = batch.masks_nhw.tensor_split(count)
    second = batch.second_masks_nhw
    seconds = [None] * count if second is None else second.tensor_split(count)
    samples = [None] * count if batch.samples_n is None else batch.samples_n.tensor_split(count)
    return [
        replace(
            batch,
            images_nhwc=images_nhwc,
            masks_nhw=masks_nhw,
            second_masks_nhw=second_nhw,
            samples_n=samples_n,
        )
        for images_nhwc, masks_nhw, second_nhw, samples_n in zip(
            images, masks, seconds, samples, strict=True
        )
    ]


def labels_on(device: torch.device, mask_nhw: Tensor) -> Tensor:
    """The labels of a mask of a batch as losses take them, int64; as bytes until they are there."""
    return mask_nhw.to(device, non_blocking=True).long()


def targets_of(batch: Batch) -> tuple[Tensor, ...]:
    """The masks (N, H, W) of a batch; after mixup those of its two images."""
    second = batch.second_masks_nhw
    return (batch.masks_nhw,) if second is None else (batch.masks_nhw, second)


def shares_of(loss: object, pieces: list[Batch], device: torch.device) -> list[Tensor | float]:
    """What each piece counts in the loss of its batch; all ranks must call this together.

    Without a weight of the loss's own, a piece weighs as many as it has images. After mixup it is
    a pair, of the losses by the first and by the second labels.
    """
    if pieces[0].second_masks_nhw is None:
        return _shares(loss, [piece.masks_nhw for piece in pieces], device)
    mixed = (pieces[0].first_share, 1 - pieces[0].first_share)
    by_target = [
        _shares(loss, list(targets), device)
        for targets in zip(*(targets_of(piece) for piece in pieces), strict=True)
    ]
    return [
        torch.stack(
            [
                part * torch.as_tensor(share, device=device)
                for part, share in zip(mixed, of_piece, strict=True)
            ]
        )
        for of_piece in zip(*by_target, strict=True)
    ]


def _shares(loss: object, targets: list[Tensor], device: torch.device) -> list[Tensor | float]:
    if len(targets) == 1:
        return [1.0]
    weights = torch.stack([_weight(loss, target_nhw, device) for target_nhw in targets])
    weights = sum_over_ranks(weights)
    # Without a labelled pixel every loss is 0, whatever it counts.
    return list(weights / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny))


def _weight(loss: object, target_nhw: Tensor, device: torch.device) -> Tensor:
    if isinstance(loss, nn.Module) and isinstance(loss, WeighsPixels):
        return loss.weight(labels_on(device, target_nhw))
    return torch.tensor(float(len(target_nhw)), device=device)
