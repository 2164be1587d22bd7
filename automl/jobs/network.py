"""A trial's network: built and pruned from its sample, or rebuilt from its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from automl.compression.prune import fit_to_state, prune
from automl.models.build import SegmentationNet, build_model
from automl.records import DatasetInfo, ModelSpec
from automl.space.parameters import TrialParameters


def build_network(params: TrialParameters, info: DatasetInfo, *, seed: int) -> SegmentationNet:
    """The untrained network of a sample, pruned to its ratio."""
    model = _build(params.model_spec(), info, seed=seed)
    return prune(model, example_image(info.size), params.pruning_ratio)


def restore_network(
    params: TrialParameters, info: DatasetInfo, state: Mapping[str, Tensor]
) -> SegmentationNet:
    """The trained network, in the pruned shape that its weights have."""
    spec = replace(params.model_spec(), pretrained=False)
    return fit_to_state(_build(spec, info, seed=0), state)


def example_image(size: tuple[int, int]) -> Tensor:
    """A blank normalised image (1, 3, H, W), for tracing."""
    return torch.zeros(1, 3, *size)


def _build(spec: ModelSpec, info: DatasetInfo, *, seed: int) -> SegmentationNet:
    return build_model(spec, num_classes=len(info.classes), size=info.size, seed=seed)
