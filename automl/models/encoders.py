"""timm networks that give feature maps of images of one size, behind one shape of output.

Legend: N batch, C channels, H and W pixels. A *stride* of 8 means a map of H/8 by W/8.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import timm
import torch
from torch import Tensor, nn

from automl.errors import TrialError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderDescription:
    """The feature maps of an encoder, finest first, one entry a map in each tuple.

    `indices` are timm's numbers for the maps, which need not start at 0. `channels_last` says
    that the network itself gives its maps as NHWC.
    """

    strides: tuple[int, ...]
    channels: tuple[int, ...]
    indices: tuple[int, ...]
    channels_last: bool

    def position(self, stride: int) -> int | None:
        """The place of the last map of this stride, or None where there is none."""
        places = [place for place, value in enumerate(self.strides) if value == stride]
        return places[-1] if places else None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderFeatures:
    """The maps that a decoder receives, finest first."""

    strides: tuple[int, ...]
    channels: tuple[int, ...]


class TimmEncoder(nn.Module):
    """A timm network cut down to the feature maps at `positions`.

    `forward` takes images (N, 3, H, W) and gives a list of (N, C, H/stride, W/stride), finest
    first.
    """

    def __init__(self, model: nn.Module, *, channels_last: bool) -> None:
        super().__init__()
        self.model = model
        self.channels_last = channels_last

    def forward(self, images_nchw: Tensor) -> list[Tensor]:
        """Give the feature maps, finest first."""
        features: Sequence[Tensor] = self.model(images_nchw)
        if self.channels_last:
            return [feature.permute(0, 3, 1, 2).contiguous() for feature in features]
        return list(features)


def nearest_encoders(name: str) -> list[str]:
    """Up to three timm names that begin or are spelt almost like `name`, best first.

    Case, dots, dashes and underscores do not count.
    """
    wanted = _plain(name)
    if not wanted:
        return []
    known = {_plain(other): other for other in timm.list_models()}
    longer = sorted((other for other in known if other.startswith(wanted)), key=len)
    close = difflib.get_close_matches(wanted, known, n=3, cutoff=0.6)
    return [known[other] for other in dict.fromkeys(longer + close)][:3]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def check_encoder_name(name: str) -> None:
    """Raise UsageError, with the nearest spellings, unless timm knows `name` (a tag may follow)."""
    if name.split(".", maxsplit=1)[0] in _known_encoders():
        return
    nearest = nearest_encoders(name)
    hint = f"did you mean {', '.join(nearest)}?" if nearest else "see timm.list_models()"
    raise UsageError(f"timm has no model '{name}'; {hint}")


@cache
def _known_encoders() -> frozenset[str]:
    return frozenset(timm.list_models())


@cache
def describe_encoder(name: str, output_stride: int, size: tuple[int, int]) -> EncoderDescription:
    """Find out what maps timm's `name` gives of images of `size`, without allocating its weights.

    `size` is (height, width). With `output_stride` below 32 the last stages are dilated instead of
    strided. Raises UsageError where the name is unknown, where the network gives no feature maps,
    takes no such stride, or gives maps that do not divide this size.
    """
    check_encoder_name(name)
    height, width = size
    problem = f"encoder '{name}' gives no feature maps of {height}x{width} images (height x width)"
    if output_stride != 32:
        problem = f"encoder '{name}' cannot be dilated to output stride {output_stride}"
    # Whatever goes wrong in a network that was not made for this is the same news to the user.
    try:
        model, shapes = _probe(name, output_stride, size)
    except Exception as error:
        raise UsageError(f"{problem}: {_first_line(error)}") from error
    channels_last = str(getattr(model, "output_fmt", "NCHW")) in {"NHWC", "Format.NHWC"}
    strides = tuple(int(stride) for stride in model.feature_info.reduction())
    channels = tuple(int(count) for count in model.feature_info.channels())
    expected = [
        (math.ceil(height / stride), math.ceil(width / stride), count)
        for stride, count in zip(strides, channels, strict=True)
    ]
    got = [shape[1:] if channels_last else (*shape[2:], shape[1]) for shape in shapes]
    if got != expected:
        raise UsageError(
            f"{problem}: declared (height, width, channels) {expected}, gave {got}; "
            "it may fit another size"
        )
    return EncoderDescription(
        strides=strides,
        channels=channels,
        indices=tuple(int(index) for index in model.feature_info.out_indices),
        channels_last=channels_last,
    )


def takes_one_size(name: str) -> bool:
    """Whether timm's `name` takes only images of the size that it was built for."""
    config = timm.get_pretrained_cfg(name)
    return config is not None and bool(config.fixed_input_size)


def build_encoder(
    name: str,
    *,
    output_stride: int,
    size: tuple[int, int],
    positions: tuple[int, ...],
    pretrained: bool,
) -> TimmEncoder:
    """Build timm's `name` with its own initialisation, or with the weights that timm downloads.

    `positions` are places in `describe_encoder(name, output_stride, size)`. Raises TrialError
    where the weights cannot be fetched.
    """
    description = describe_encoder(name, output_stride, size)
    indices = tuple(description.indices[position] for position in positions)
    if not pretrained:
        model = _create(name, output_stride, size, indices)
        return TimmEncoder(model, channels_last=description.channels_last)
    # The hub's client raises errors of several libraries for a host that is out of reach.
    try:
        model = _create(name, output_stride, size, indices, pretrained=True)
    except Exception as error:
        message = (
            f"pretrained: the weights of '{name}' could not be fetched ({_first_line(error)}). "
            "Check the network, set `pretrained: false`, or give the path of a weights file"
        )
        raise TrialError(message) from error
    return TimmEncoder(model, channels_last=description.channels_last)


def _probe(
    name: str, output_stride: int, size: tuple[int, int]
) -> tuple[Any, list[tuple[int, ...]]]:
    """The network and the shapes of its maps; on the meta device, where it can be built there."""
    try:
        with torch.device("meta"):
            model = _create(name, output_stride, size)
            return model, _shapes(model, torch.empty(1, 3, *size))
    except (NotImplementedError, RuntimeError):
        # Some networks compute with their buffers while they are built: that needs real numbers.
        model = _create(name, output_stride, size)
        return model, _shapes(model, torch.zeros(1, 3, *size))


def _shapes(model: nn.Module, images_nchw: Tensor) -> list[tuple[int, ...]]:
    with torch.no_grad():
        return [tuple(feature.shape) for feature in model.eval()(images_nchw)]


def _create(
    name: str,
    output_stride: int,
    size: tuple[int, int],
    indices: tuple[int, ...] | None = None,
    *,
    pretrained: bool = False,
) -> Any:
    options: dict[str, Any] = {"features_only": True, "pretrained": pretrained}
    if output_stride != 32:
        options["output_stride"] = output_stride
    if indices is not None:
        options["out_indices"] = indices
    if takes_one_size(name):
        # Windows or position embeddings are made for one size: timm makes them for ours.
        options["img_size"] = size
    return timm.create_model(name, **options)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
