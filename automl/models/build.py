"""From a `ModelSpec` to a network.

Legend: N batch, K classes, C channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from automl.errors import UsageError
from automl.models.decoders import DECODERS, DecoderKind
from automl.models.encoders import (
    EncoderFeatures,
    TimmEncoder,
    build_encoder,
    check_encoder_name,
    describe_encoder,
    takes_one_size,
)
from automl.models.initialisation import initialise_decoder, initialise_head
from automl.models.weights import load_encoder_weights
from automl.records import ModelSpec, Normalisation
from automl.space.faults import Fault

#: Heights and widths of images must be multiples of this: the stride of the coarsest map.
SIZE_STEP = 32

_WIDTHS = range(16, 513, 8)


class SegmentationNet(nn.Module):
    """Encoder, decoder and a 1x1 head, then bilinear enlargement to the size of the images.

    Some encoders take only images of the size that they were built for. `stride` is that of the
    decoder's features. The head's convolution is the only layer whose output channels mean
    something: the classes.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, head: nn.Conv2d, *, stride: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head
        self.stride = stride

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Turn images (N, 3, H, W) into logits (N, K, H, W).

        Raises ValueError unless H and W are multiples of 32.
        """
        logits_nkhw, _ = self.forward_with_features(images_nchw)
        return logits_nkhw

    def forward_with_features(self, images_nchw: Tensor) -> tuple[Tensor, Tensor]:
        """Give the logits (N, K, H, W) and the decoder's features (N, C, H/stride, W/stride)."""
        _check_size(images_nchw)
        return self._decoded(self.encoder(images_nchw))

    def forward_coarse(self, images_nchw: Tensor) -> tuple[Tensor, Tensor]:
        """Give the logits before enlargement (N, K, H/stride, W/stride), and the features."""
        _check_size(images_nchw)
        features_nchw = self.decoder(self.encoder(images_nchw))
        return self.head(features_nchw), features_nchw

    def forward_with_maps(self, images_nchw: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Give the logits (N, K, H, W) and the encoder's maps (N, C, H/stride, W/stride)."""
        _check_size(images_nchw)
        maps = list(self.encoder(images_nchw))
        return self._decoded(maps)[0], maps

    def forward_with_stages(self, images_nchw: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Give the logits, the decoder's features, and the encoder's maps."""
        _check_size(images_nchw)
        maps = list(self.encoder(images_nchw))
        return *self._decoded(maps), maps

    def _decoded(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        features_nchw = self.decoder(maps)
        logits_nkhw = self.head(features_nchw)
        if self.stride != 1:
            logits_nkhw = functional.interpolate(
                logits_nkhw, scale_factor=float(self.stride), mode="bilinear", align_corners=False
            )
        return logits_nkhw, features_nchw


def build_model(
    spec: ModelSpec, *, num_classes: int, size: tuple[int, int], seed: int
) -> SegmentationNet:
    """Build the network of `spec` on the CPU, in training mode; same seed, same weights.

    It is made for images of `size` (height, width). PyTorch's global random state is left as it
    was. Raises UsageError for an unknown encoder or decoder, a width out of range or an impossible
    pair; TrialError where pretrained weights cannot be fetched, read, or do not fit.
    """
    kind = _kind_of(spec)
    if num_classes < 2:
        raise UsageError(f"a segmentation has at least 2 classes, got {num_classes}")
    positions, features = _choose_features(spec, kind, size)
    # The CPU generator alone, so that a GPU's random state needs no saving.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        encoder = build_encoder(
            spec.encoder,
            output_stride=kind.output_stride,
            size=size,
            positions=positions,
            pretrained=spec.pretrained is True,
        )
        decoder, channels = kind.build(features, spec.decoder_width)
        head = nn.Conv2d(channels, num_classes, 1)
        initialise_decoder(decoder)
        initialise_head(head)
    _load_given_weights(encoder, spec)
    return SegmentationNet(encoder, decoder, head, stride=kind.stride)


def check_spec(spec: ModelSpec, size: tuple[int, int]) -> list[Fault]:
    """List what is wrong with `spec` at a size (height, width); nothing where it can be built.

    The path of a fault is the field to blame; of a pair that does not fit it is the encoder.
    Allocates no weights, except for the few encoders that cannot be built on the meta device.
    """
    faults = check_names(spec)
    if not any(fault.path in {("encoder",), ("decoder",)} for fault in faults):
        try:
            _choose_features(spec, DECODERS[spec.decoder], size)
        except UsageError as error:
            faults.append(Fault(path=("encoder",), problem=str(error)))
    return faults


def check_sizes(spec: ModelSpec, sizes: Sequence[tuple[int, int]]) -> list[Fault]:
    """The same for a network that is built at the first size and trains at all of them."""
    found = dict.fromkeys(fault for size in sizes for fault in check_spec(spec, size))
    if not found and len(set(sizes)) > 1 and takes_one_size(spec.encoder):
        height, width = sizes[0]
        problem = (
            f"encoder '{spec.encoder}' takes only images of the size that it is built for, "
            f"{height}x{width} (height x width): search.fidelity.size must be 1 all along"
        )
        found[Fault(path=("encoder",), problem=problem)] = None
    return list(found)


def check_names(spec: ModelSpec) -> list[Fault]:
    """The part of `check_spec` that holds for images of every size: each field by itself."""
    faults = [*_decoder_faults(spec)]
    if isinstance(spec.pretrained, str) and not Path(spec.pretrained).is_file():
        faults.append(Fault(path=("pretrained",), problem=f"no such file: {spec.pretrained}"))
    try:
        check_encoder_name(spec.encoder)
    except UsageError as error:
        return [*faults, Fault(path=("encoder",), problem=str(error))]
    if spec.pretrained is True and not timm.is_model_pretrained(spec.encoder):
        problem = f"timm has no weights for '{spec.encoder}'"
        faults.append(Fault(path=("pretrained",), problem=problem))
    return faults


def normalisation_for(spec: ModelSpec, dataset_norm: Normalisation) -> Normalisation:
    """Give what the encoder's weights were trained with, in units of 0 to 255.

    Weights from a file are taken to be normalised as timm's own of that encoder. From scratch,
    or where timm does not say, it is the dataset's.
    """
    check_encoder_name(spec.encoder)
    config = timm.get_pretrained_cfg(spec.encoder)
    if spec.pretrained is False or config is None:
        return dataset_norm
    mean, std = (tuple(255.0 * value for value in triple) for triple in (config.mean, config.std))
    if len(mean) != 3 or len(std) != 3:
        return dataset_norm
    return Normalisation(mean=mean, std=std)


def _kind_of(spec: ModelSpec) -> DecoderKind:
    faults = _decoder_faults(spec)
    if faults:
        raise UsageError("; ".join(map(str, faults)))
    return DECODERS[spec.decoder]


def _decoder_faults(spec: ModelSpec) -> list[Fault]:
    faults = []
    if spec.decoder not in DECODERS:
        problem = f"no '{spec.decoder}'; allowed: {', '.join(DECODERS)}"
        faults.append(Fault(path=("decoder",), problem=problem))
    if spec.decoder_width not in _WIDTHS:
        allowed = f"a multiple of {_WIDTHS.step} from {_WIDTHS.start} to {_WIDTHS.stop - 1}"
        problem = f"got {spec.decoder_width}; allowed: {allowed}"
        faults.append(Fault(path=("decoder_width",), problem=problem))
    return faults


def _choose_features(
    spec: ModelSpec, kind: DecoderKind, size: tuple[int, int]
) -> tuple[tuple[int, ...], EncoderFeatures]:
    """The encoder's maps for the decoder, as places and as a description, finest first."""
    try:
        description = describe_encoder(spec.encoder, kind.output_stride, size)
    except UsageError as error:
        raise UsageError(f"decoder '{spec.decoder}': {error}") from error
    missing = [stride for stride in kind.strides if description.position(stride) is None]
    if missing:
        raise UsageError(
            f"encoder '{spec.encoder}' with decoder '{spec.decoder}': needs feature maps at "
            f"strides {_listed(kind.strides)}; this encoder has {_listed(description.strides)}"
        )
    found = [description.position(stride) for stride in sorted({*kind.strides, *kind.optional})]
    positions = tuple(position for position in found if position is not None)
    return positions, EncoderFeatures(
        strides=tuple(description.strides[position] for position in positions),
        channels=tuple(description.channels[position] for position in positions),
    )


def _load_given_weights(encoder: TimmEncoder, spec: ModelSpec) -> None:
    if isinstance(spec.pretrained, str):
        load_encoder_weights(encoder.model, Path(spec.pretrained))


def _check_size(images_nchw: Tensor) -> None:
    height, width = images_nchw.shape[-2:]
    # A tracer gives sizes as tensors: comparing those would bake a branch into its graph.
    traced = not isinstance(height, int)
    if not traced and (height % SIZE_STEP or width % SIZE_STEP):
        raise ValueError(
            f"height and width must be multiples of {SIZE_STEP}, got {height} by {width}"
        )


def _listed(values: tuple[int, ...]) -> str:
    return ", ".join(str(value) for value in values)
