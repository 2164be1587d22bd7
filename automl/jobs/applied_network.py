"""Proofs that a trial's network is the one that was sampled; see `applied.py`.

Pruning and weights are compared with a twin: the encoder of the same sample and seed, built anew
from scratch and not pruned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from automl.compression.choice import GRID, kept_channels
from automl.models.build import SegmentationNet, build_model
from automl.models.initialisation import INITS, LEAST_SHARE, drawn_layers, drawn_weight
from automl.models.reading import decoder_channels_in, decoder_in, encoder_in
from automl.models.weights import fitting_weights
from automl.records import DatasetInfo
from automl.space.parameters import TrialParameters

_LEAST_WIDTH = 16

#: Values of each tensor that are compared with the tensor that they should come from.
_SAMPLED_VALUES = 3


def other_encoder(params: TrialParameters, model: SegmentationNet) -> str | None:
    """The live encoder, where it is another; a tag of the weights is no part of the name."""
    live = encoder_in(model)
    return None if live == params.encoder.split(".", maxsplit=1)[0] else live


def other_decoder(params: TrialParameters, model: SegmentationNet) -> str | None:
    """The live decoder, where it is another."""
    live = decoder_in(model)
    return None if live == params.decoder else live


def twin_of(params: TrialParameters, info: DatasetInfo, seed: int) -> SegmentationNet:
    """A network with the sampled encoder from scratch, unpruned, under the least of decoders.

    The encoder is what is compared; it is drawn first, so what follows does not change it.
    """
    spec = replace(params.model_spec(), pretrained=False, decoder_width=_LEAST_WIDTH)
    return build_model(spec, num_classes=len(info.classes), size=info.size, seed=seed)


def other_width(params: TrialParameters, model: SegmentationNet) -> str | None:
    """The live width of the decoder, where the sample and its pruning do not give it."""
    live, times = decoder_channels_in(model)
    expected = kept_channels(times * params.decoder_width, params.pruning_ratio)
    if live == expected:
        return None
    return f"a layer of {live} channels where {expected} remain of {times * params.decoder_width}"


def other_pruning(
    params: TrialParameters, model: SegmentationNet, twin: SegmentationNet
) -> str | None:
    """How the channels differ from what the ratio leaves of the twin's, in words.

    Every layer of the encoder must be whole or on the grid of the ratio. Where the ratio reaches
    any, some must have lost channels, save in an encoder with linear layers, all of which attention
    may hold together; and a decoder that the ratio reaches must not be whole.
    """
    ratio = params.pruning_ratio
    steps = _steps(twin)
    reached, cut = 0, any(isinstance(layer, nn.Linear) for layer in twin.encoder.modules())
    for name, live, whole in _widths(model.encoder, twin.encoder):
        allowed = {whole, *(kept_channels(whole, ratio, step=step) for step in steps)}
        if live not in allowed:
            return f"encoder layer {name} with {live} of {whole} channels"
        reached += kept_channels(whole, ratio) < whole
        cut |= live < whole
    if reached and not cut:
        return "an encoder that has all its channels"
    live, times = decoder_channels_in(model)
    whole = times * params.decoder_width
    if live == whole and kept_channels(whole, ratio) < whole:
        return "a decoder that has all its channels"
    return None


def other_init(params: TrialParameters, model: SegmentationNet, seed: int) -> str | None:
    """How the decoder's weights were drawn, where the sample names another way."""
    live = next((kind for kind in INITS if _drawn_by(kind, model, seed)), "default")
    return None if live == params.init else live


def other_head_bias(
    params: TrialParameters, model: SegmentationNet, info: DatasetInfo
) -> str | None:
    """The first probabilities of the classes, where they are not those of the sample's biases."""
    assert model.head.bias is not None
    shares = torch.tensor(info.class_pixel_share).clamp_min(LEAST_SHARE)
    even = torch.full_like(shares, 1 / len(shares))
    wanted = shares / shares.sum() if params.head_bias == "prior" else even
    live = model.head.bias.detach().cpu().softmax(0)
    if torch.allclose(live, wanted, rtol=1e-3, atol=1e-5):
        return None
    return f"probabilities {', '.join(f'{value:.4g}' for value in live.tolist())}"


def other_weights(
    params: TrialParameters, model: SegmentationNet, twin: SegmentationNet, seed: int
) -> str | None:
    """Where the encoder's weights come from, in words, where the sample names another source."""
    live = _matrices(model.encoder.model)
    scratch = _matrices(twin.encoder.model)
    if isinstance(params.pretrained, str):
        file = fitting_weights(_network(twin), Path(params.pretrained))
        foreign = [name for name in file if name in live and not _within(live[name], file[name])]
        return f"{len(foreign)} tensors that are not the file's" if foreign else None
    if params.init != "default" and not params.pretrained:
        drawn = _not_drawn(params.init, model.encoder, seed)
        return f"{len(drawn)} layers that were not drawn anew" if drawn else None
    own = [name for name, value in live.items() if _within(value, scratch[name])]
    if params.pretrained:
        return "weights from scratch" if 2 * len(own) > len(live) else None
    others = len(live) - len(own)
    return f"{others} tensors that are not those of the seed" if others else None


def _drawn_by(kind: str, model: SegmentationNet, seed: int) -> bool:
    return not _not_drawn(kind, model.decoder, seed)


def _not_drawn(kind: str, part: nn.Module, seed: int) -> list[str]:
    """The layers of a part that `redraw` gives other weights than they have."""
    return [
        name
        for name, layer in drawn_layers(part).items()
        if not torch.allclose(
            layer.weight.detach().cpu(), drawn_weight(name, layer, kind, seed), atol=1e-6
        )
    ]


def _network(model: SegmentationNet) -> nn.Module:
    network = model.encoder.model
    assert isinstance(network, nn.Module)
    return network


def _widths(model: nn.Module, twin: nn.Module) -> Iterator[tuple[str, int, int]]:
    """Name, live and twin's output channels of each layer that pruning narrows by itself."""
    live = dict(model.named_modules())
    for name, layer in twin.named_modules():
        if isinstance(layer, nn.Linear):
            yield name, _rows(live[name]), layer.out_features
        # Depthwise layers follow what feeds them.
        elif isinstance(layer, nn.Conv2d) and not 1 < layer.groups == layer.out_channels:
            yield name, _rows(live[name]), layer.out_channels


def _rows(layer: nn.Module) -> int:
    """A layer's output channels, by its weights rather than by what it declares."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.shape[0]


def _steps(twin: nn.Module) -> set[int]:
    """The grids of widths: that of all layers, and those that grouped convolutions force."""
    groups = {
        layer.groups
        for layer in twin.modules()
        if isinstance(layer, nn.Conv2d) and 1 < layer.groups < layer.out_channels
    }
    coarser = {math.lcm(GRID, count) for count in groups}
    return {GRID, *coarser, math.lcm(GRID, *groups)}


def _matrices(module: object) -> Mapping[str, Tensor]:
    """The weights that an initialisation draws: those of norms and biases are constants."""
    assert isinstance(module, nn.Module)
    return {name: value for name, value in module.named_parameters() if value.ndim > 1}


def _within(live: Tensor, source: Tensor) -> bool:
    """Whether the first values of a tensor, pruned or not, are the source's."""
    values = live.detach()[0].flatten()[:_SAMPLED_VALUES].cpu().to(source.dtype)
    if live.shape == source.shape:
        return torch.equal(values, source.detach()[0].flatten()[:_SAMPLED_VALUES])
    # Which channels were kept is not known here: any place in the source will do.
    return all(bool((source == value).any()) for value in values)
