"""Every name that a search space may hold: its default, its limits, and what it means.

`PARAMETERS` is the one table that the YAML parser, the JSON Schema and the error messages read;
`TrialParameters` is a trial's complete set of values, checked against it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal

from automl.errors import SpaceError
from automl.records import ModelSpec, Scalar

Kind = Literal["any", "text", "flag_or_text", "int", "float"]

#: Words that YAML 1.1 reads as a truth value and YAML 1.2 as text: never a weights file.
_YAML_1_1_FLAGS = frozenset({"yes", "no", "on", "off", "y", "n"})


def nearest(given: object, known: Iterable[str]) -> str | None:
    """The known spelling closest to `given`, or None where none is close."""
    names = {name.lower(): name for name in known}
    found = difflib.get_close_matches(str(given).lower(), names, n=1, cutoff=0.6)
    return names[found[0]] if found else None


def is_number(value: object) -> bool:
    """Whether a value is a finite number; Python's `True` is an int, but no number here."""
    is_numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_numeric and math.isfinite(float(str(value)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one parameter may be. Bounds are inclusive unless the name says otherwise."""

    kind: Kind
    description: str
    options: tuple[str, ...] = ()
    low: float | None = None
    above: float | None = None
    high: float | None = None
    multiple: int = 1

    @property
    def allowed(self) -> str:
        """The limits in words, for error messages."""
        if self.options:
            return "one of " + ", ".join(self.options)
        if self.kind == "any":
            return "a value"
        if self.kind == "text":
            return "a name, as text"
        if self.kind == "flag_or_text":
            return "true, false, or the path of a weights file"
        noun = "a number" if self.kind == "float" else "a whole number"
        if self.multiple > 1:
            noun = f"a multiple of {self.multiple}"
        return " ".join([noun, *self._bounds()])

    def _bounds(self) -> list[str]:
        bounds = []
        if self.above is not None:
            bounds.append(f"> {self.above:g}")
        if self.low is not None:
            bounds.append(f">= {self.low:g}")
        if self.high is not None:
            bounds.append(f"<= {self.high:g}")
        return [" and ".join(bounds)] if bounds else []

    def accept(self, value: object) -> bool:
        """Whether this parameter may have this value."""
        if self.options:
            return value in self.options
        if self.kind == "any":
            return True
        if self.kind == "text":
            return _is_word(value)
        if self.kind == "flag_or_text":
            is_path = _is_word(value) and str(value).lower() not in _YAML_1_1_FLAGS
            return isinstance(value, bool) or is_path
        return is_number(value) and self._in_bounds(float(str(value)))

    def _in_bounds(self, value: float) -> bool:
        if self.kind == "int" and (value != int(value) or int(value) % self.multiple):
            return False
        return (
            (self.low is None or value >= self.low)
            and (self.above is None or value > self.above)
            and (self.high is None or value <= self.high)
        )

    def canonical(self, value: Scalar) -> Scalar:
        """An accepted value in the one type that this parameter has: 1 becomes 1.0 for a float."""
        if self.kind == "float":
            return float(value)
        if self.kind == "int":
            return int(value)
        return value


def _is_word(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


PARAMETERS: Mapping[str, Limits] = MappingProxyType(
    {
        "encoder": Limits(
            kind="text",
            description="Feature encoder, by its timm name (timm.list_models lists them).",
        ),
        "decoder": Limits(
            kind="text",
            options=("fpn_lite", "fpn", "unet", "deeplabv3plus"),
            description="Decoder that turns the encoder's features into per-pixel logits.",
        ),
        "decoder_width": Limits(
            kind="int",
            low=16,
            high=512,
            multiple=8,
            description="Channels of the decoder (for unet: of its widest block).",
        ),
        "pretrained": Limits(
            kind="flag_or_text",
            description="Encoder weights: false (from scratch), true (timm's, needs a download), "
            "or the path of a weights file.",
        ),
        "pruning_ratio": Limits(
            kind="float",
            low=0.0,
            high=0.9,
            description="Share of channels removed from the network before it is trained.",
        ),
        "alpha": Limits(
            kind="float",
            low=0.0,
            high=1.0,
            description="Loss = alpha * region loss + (1 - alpha) * pixel loss, which is "
            "focal(gamma).",
        ),
        "region_loss": Limits(
            kind="text",
            options=("dice", "generalised_dice", "lovasz"),
            description="Loss of the overlap of regions.",
        ),
        "gamma": Limits(
            kind="float",
            low=0.0,
            high=5.0,
            description="Focusing exponent of the focal loss; 0 is plain cross-entropy.",
        ),
        "class_weights": Limits(
            kind="text",
            options=("none", "balanced", "effective"),
            description="Whether rare classes weigh more in the loss: by the inverse root of their "
            "share of the pixels, or by their effective number of samples, which is steeper.",
        ),
        "label_smoothing": Limits(
            kind="float",
            low=0.0,
            high=0.5,
            description="Share of each label that the pixel loss spreads over all classes.",
        ),
        "ohem_share": Limits(
            kind="float",
            above=0.0,
            high=1.0,
            description="Share of the pixels, the hardest ones, that the pixel loss is of (OHEM); "
            "1 is all.",
        ),
        "boundary_weight": Limits(
            kind="float",
            low=0.0,
            high=20.0,
            description="Extra weight, in the pixel loss, of pixels near a boundary of labels.",
        ),
        "augmentation": Limits(
            kind="text",
            options=("none", "light", "medium", "strong"),
            description="Strength of the augmentation policy.",
        ),
        "cutmix": Limits(
            kind="float",
            low=0.0,
            high=1.0,
            description="Probability of CutMix, for each batch.",
        ),
        "oversample": Limits(
            kind="text",
            options=("none", "effective"),
            description="Whether images with rare classes are drawn more often.",
        ),
        "optimizer": Limits(
            kind="text",
            options=("adamw", "sgd"),
            description="Optimizer; sgd has Nesterov momentum 0.9.",
        ),
        "learning_rate": Limits(
            kind="float",
            above=0.0,
            high=10.0,
            description="Peak learning rate, after the warm-up.",
        ),
        "weight_decay": Limits(
            kind="float",
            low=0.0,
            high=10.0,
            description="Weight decay; norms and biases have none.",
        ),
        "batch_size": Limits(
            kind="int",
            low=1,
            high=4096,
            description="Images in a batch, over all workers of the trial.",
        ),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialParameters:
    """A value for every parameter; raises SpaceError naming each value outside its limits."""

    encoder: str = "mobilenetv3_small_100"
    decoder: str = "fpn_lite"
    decoder_width: int = 64
    pretrained: bool | str = False
    pruning_ratio: float = 0.0
    alpha: float = 0.5
    region_loss: str = "dice"
    gamma: float = 2.0
    class_weights: str = "none"
    label_smoothing: float = 0.0
    ohem_share: float = 1.0
    boundary_weight: float = 0.0
    augmentation: str = "light"
    cutmix: float = 0.0
    oversample: str = "none"
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 8

    def __post_init__(self) -> None:
        faults = [
            f"{name}: given {getattr(self, name)!r}; allowed: {limits.allowed}"
            for name, limits in PARAMETERS.items()
            if not limits.accept(getattr(self, name))
        ]
        if faults:
            raise SpaceError("\n".join(faults))

    def model_spec(self) -> ModelSpec:
        """What of these values determines the network before pruning."""
        return ModelSpec(
            encoder=self.encoder,
            decoder=self.decoder,
            decoder_width=self.decoder_width,
            pretrained=self.pretrained,
        )


#: The value of each parameter where a search space does not name it.
DEFAULTS: Mapping[str, Scalar] = MappingProxyType(
    {field.name: getattr(TrialParameters(), field.name) for field in fields(TrialParameters)}
)


def parameters_from(params: Mapping[str, Scalar]) -> TrialParameters:
    """Complete a trial's sampled values with the defaults of those that it leaves out.

    Raises:
        SpaceError: naming every unknown name, or every value outside its limits.
    """
    unknown = [name for name in params if name not in PARAMETERS]
    if unknown:
        raise SpaceError("\n".join(unknown_parameter(name) for name in unknown))
    values: dict[str, Any] = {
        name: PARAMETERS[name].canonical(value) if PARAMETERS[name].accept(value) else value
        for name, value in params.items()
    }
    return TrialParameters(**values)


def unknown_parameter(name: str) -> str:
    """The error message for a name that is no parameter."""
    meant = nearest(name, PARAMETERS)
    hint = f"; did you mean {meant!r}?" if meant is not None else ""
    return f"{name!r} is no parameter; allowed: {', '.join(PARAMETERS)}{hint}"
