"""Encoder weights from a file: by name, or by position where the names differ."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from automl.errors import TrialError, UsageError

#: The share of an encoder's tensors that a file must fill.
MIN_SHARE = 0.9

#: Under these keys, training programs keep the weights beside other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model")

_PREFIXES = ("module.", "model.", "encoder.", "backbone.")


def load_encoder_weights(encoder: nn.Module, path: Path) -> None:
    """Fill `encoder`, in place, with `fitting_weights`; raises as that does, changing nothing."""
    encoder.load_state_dict(fitting_weights(encoder, path), strict=False)


def fitting_weights(encoder: nn.Module, path: Path) -> dict[str, Tensor]:
    """What a `.safetensors` file or a `torch.save`d state dict holds of `encoder`, by its names.

    Tensors are matched by name (container prefixes aside, `.` and `_` being the same) where that
    fits at least 90 % of the encoder's tensors, else by position among tensors of equal shapes,
    which is right for a file that lists the same layers under other names. Raises UsageError
    where there is no such file, TrialError where it cannot be read or fits less than 90 %.
    """
    given = _read(path)
    own = _weights(encoder.state_dict())
    by_name = _match_by_name(own, given)
    fits = by_name if _enough(by_name, own) else _match_by_position(own, given)
    if not _enough(fits, own):
        best = max(len(by_name), len(fits))
        unmatched = [name for name in own if name not in by_name][:3]
        raise TrialError(
            f"pretrained: {path} fits {best} of {len(own)} tensors of the encoder, needed: "
            f"{MIN_SHARE:.0%}; without a match by name: {', '.join(unmatched)}, ..."
        )
    return fits


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UsageError(f"pretrained: no such file: {path}")
    try:
        if path.suffix == ".safetensors":
            content: object = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise TrialError(f"pretrained: {path} cannot be read as weights: {error}") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise TrialError(f"pretrained: {path} holds a {type(content).__name__}, not named tensors")
    return _weights(content)


def _weights(state: Mapping[str, object]) -> dict[str, Tensor]:
    """The tensors that carry weights: batch counters and the like are left out."""
    return {
        name: value
        for name, value in state.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }


def _match_by_name(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The best match over all the prefixes that the file's names begin with."""
    best: dict[str, Tensor] = {}
    names = dict(given)
    while names:
        plain = {name.replace(".", "_"): value for name, value in names.items()}
        match = {
            name: plain[name.replace(".", "_")]
            for name, value in own.items()
            if _same_shape(plain.get(name.replace(".", "_")), value)
        }
        best = match if len(match) > len(best) else best
        names = _without_prefix(names)
    return best


def _without_prefix(names: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in names.items()
        for prefix in _PREFIXES
        if name.startswith(prefix)
    }


def _match_by_position(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # A file often goes on where the encoder ends (the classifier): the shorter one decides.
    pairs = zip(own.items(), given.values(), strict=False)
    return {name: value for (name, mine), value in pairs if mine.shape == value.shape}


def _same_shape(candidate: Tensor | None, mine: Tensor) -> bool:
    return candidate is not None and candidate.shape == mine.shape


def _enough(fits: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    return len(fits) >= MIN_SHARE * len(own)
