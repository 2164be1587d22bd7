"""A trial's complete set of values, checked against the table of all parameters.

`PARAMETERS` is the one table that the YAML parser, the JSON Schema and the error messages read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from automl.errors import SpaceError
from automl.records import ModelSpec, Scalar
from automl.space.limits import nearest
from automl.space.parameter_table import PARAMETERS

#: What the names of a declared policy's searched values start with.
POLICY_PREFIX = "augmentation."


#: The parameters without a default of their own: left out of a space, `train` declares them.
DECLARED_IN_TRAIN = ("warmup_epochs", "accumulate", "clip_norm")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialParameters:
    """A value for every parameter; raises SpaceError naming each value outside its limits.

    Those of `DECLARED_IN_TRAIN` are None where `train` holds (`space/declared.py`).
    """

    encoder: str = "mobilenetv3_small_100"
    decoder: str = "fpn_lite"
    decoder_width: int = 64
    pretrained: bool | str = False
    init: str = "default"
    head_bias: str = "zero"
    pruning_ratio: float = 0.0
    alpha: float = 0.5
    region_loss: str = "dice"
    gamma: float = 2.0
    class_weights: str = "none"
    label_smoothing: float = 0.0
    ohem_share: float = 1.0
    boundary_weight: float = 0.0
    deep_supervision: float = 0.0
    augmentation: str = "light"
    cutmix: float = 0.0
    classmix: float = 0.0
    copy_paste: float = 0.0
    mixup: float = 0.0
    oversample: str = "none"
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup_epochs: float | None = None
    encoder_lr_factor: float = 1.0
    layer_decay: float = 1.0
    freeze_epochs: int = 0
    ema_decay: float = 0.0
    ema_distillation: float = 0.0
    weight_decay: float = 1e-2
    batch_size: int = 8
    accumulate: int | None = None
    clip_norm: float | str | None = None

    def __post_init__(self) -> None:
        faults = [
            f"{name}: given {getattr(self, name)!r}; allowed: {limits.allowed}"
            for name, limits in PARAMETERS.items()
            if not limits.accept(getattr(self, name)) and not self._is_left_out(name)
        ]
        if not faults and self.ema_distillation > 0 and self.ema_decay == 0:
            faults.append(
                f"ema_distillation: given {self.ema_distillation!r}; allowed without ema_decay: 0"
            )
        if faults:
            raise SpaceError("\n".join(faults))

    def _is_left_out(self, name: str) -> bool:
        return name in DECLARED_IN_TRAIN and getattr(self, name) is None

    def values(self) -> dict[str, Scalar]:
        """The value of each parameter, but of those that `train` holds."""
        return {name: getattr(self, name) for name in PARAMETERS if not self._is_left_out(name)}

    def model_spec(self) -> ModelSpec:
        """What of these values determines the network before pruning."""
        return ModelSpec(
            encoder=self.encoder,
            decoder=self.decoder,
            decoder_width=self.decoder_width,
            pretrained=self.pretrained,
        )


#: The value of each parameter where a search space does not name it, but of those in `train`.
DEFAULTS: Mapping[str, Scalar] = MappingProxyType(TrialParameters().values())


def parameters_from(params: Mapping[str, Scalar]) -> TrialParameters:
    """Complete a trial's sampled values with the defaults of those that it leaves out.

    Values of a declared policy are left to `space/policies`: which there are, the experiment says.

    Raises:
        SpaceError: naming every unknown name, or every value outside its limits.
    """
    params = {name: value for name, value in params.items() if not is_policy_parameter(name)}
    unknown = [name for name in params if name not in PARAMETERS]
    if unknown:
        raise SpaceError("\n".join(unknown_parameter(name) for name in unknown))
    values: dict[str, Any] = {
        name: PARAMETERS[name].canonical(value) if PARAMETERS[name].accept(value) else value
        for name, value in params.items()
    }
    return TrialParameters(**values)


def is_policy_parameter(name: str) -> bool:
    """Whether a parameter is a searched value of a declared augmentation policy."""
    return name.startswith(POLICY_PREFIX)


def unknown_parameter(name: str) -> str:
    """The error message for a name that is no parameter."""
    meant = nearest(name, PARAMETERS)
    hint = f"; did you mean {meant!r}?" if meant is not None else ""
    return f"{name!r} is no parameter; allowed: {', '.join(PARAMETERS)}{hint}"
