"""A trial's network: built and pruned from its sample, or rebuilt from its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from automl.compression.prune import fit_to_state, prune
from automl.models.build import SegmentationNet, build_model
from automl.models.initialisation import prior_bias, redraw
from automl.records import DatasetInfo, ModelSpec
from automl.space.parameters import TrialParameters


def build_network(params: TrialParameters, info: DatasetInfo, *, seed: int) -> SegmentationNet:
    """The untrained network of a sample, pruned to its ratio.

    Weights that are drawn otherwise than by default are those of the layers that pruning left.
    """
    model = _build(params.model_spec(), info, seed=seed)
    model = prune(model, example_image(info.size), params.pruning_ratio)
    if params.init != "default":
        for part in _from_scratch(model, params):
            redraw(part, params.init, seed)
    if params.head_bias == "prior":
        prior_bias(model.head, info.class_pixel_share)
    return model


def restore_network(
    params: TrialParameters, info: DatasetInfo, state: Mapping[str, Tensor]
) -> SegmentationNet:
    """The trained network, in the pruned shape that its weights have."""
    spec = replace(params.model_spec(), pretrained=False)
    return fit_to_state(_build(spec, info, seed=0), state)


def example_image(size: tuple[int, int]) -> Tensor:
    """A blank normalised image (1, 3, H, W), for tracing."""
    return torch.zeros(1, 3, *size)


def _from_scratch(model: SegmentationNet, params: TrialParameters) -> list[nn.Module]:
    """What has no weights from elsewhere; the head keeps its small ones."""
    return [model.decoder] if params.pretrained else [model.encoder, model.decoder]


def _build(spec: ModelSpec, info: DatasetInfo, *, seed: int) -> SegmentationNet:
    return build_model(spec, num_classes=len(info.classes), size=info.size, seed=seed)
