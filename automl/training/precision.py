"""The floating point precision of forward passes; weights and optimizers stay in float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor
from torch.amp import GradScaler, autocast

from automl.errors import UsageError

PrecisionName = Literal["fp32", "bf16", "fp16"]
PrecisionSetting = Literal["auto", "fp32", "bf16", "fp16"]

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """A precision that its device can compute in; `fp16` needs CUDA."""

    name: PrecisionName
    device_type: str

    def __post_init__(self) -> None:
        if self.name not in get_args(PrecisionName):
            allowed = ", ".join(get_args(PrecisionSetting))
            raise UsageError(f"precision: given {self.name!r}; allowed {allowed}")
        if self.name == "fp16" and self.device_type != "cuda":
            raise UsageError(
                f"precision: given 'fp16' on {self.device_type}; allowed there: auto, fp32, bf16"
            )

    def autocast(self) -> autocast:
        """A context in which operations run in this precision (`fp32`: as they are)."""
        dtype = _AUTOCAST.get(self.name, torch.bfloat16)
        return autocast(self.device_type, dtype=dtype, enabled=self.name in _AUTOCAST)

    def grad_scaler(self) -> GradScaler:
        """A loss scaler that works for `fp16` and passes everything through otherwise."""
        return GradScaler(self.device_type, enabled=self.name == "fp16")


def at_least_float32(values: Tensor) -> Tensor:
    """Half precisions as float32; float32 and float64 as they are."""
    return values.float() if values.dtype in _AUTOCAST.values() else values


def resolve_precision(name: str, device: torch.device) -> Precision:
    """The precision to use on `device`; raises UsageError for one that cannot run there.

    `auto` is `fp32` on a CPU; on CUDA `bf16` where the hardware has it, else `fp16`.
    """
    if name != "auto":
        return Precision(name=cast("PrecisionName", name), device_type=device.type)
    if device.type != "cuda":
        return Precision(name="fp32", device_type=device.type)
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return Precision(name="bf16" if has_bf16 else "fp16", device_type="cuda")
