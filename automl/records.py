"""Frozen values shared by every layer, each with a JSON round trip (`to_json` / `from_json`).

Units are part of the names: `latency_ms`, `size_mb`, `params_m` (millions), `macs_g` (10^9).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, Literal, TypeVar, cast

from pydantic import TypeAdapter

from automl.resize import STRETCH, Resize

Scalar = bool | int | float | str
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Direction = Literal["maximize", "minimize"]

#: The label of pixels that neither train nor score, in every imported mask.
IGNORE = 255

T = TypeVar("T")


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("type[Any]", kind))


def to_json(record: object) -> dict[str, Any]:
    """Turn a record of this module into plain JSON values."""
    kind: type[object] = type(record)
    plain: dict[str, Any] = _adapter(cast("Hashable", kind)).dump_python(record, mode="json")
    return plain


def from_json(kind: type[T], plain: object) -> T:
    """Build a record from plain JSON values; raises pydantic's ValidationError on a bad one."""
    record: T = _adapter(cast("Hashable", kind)).validate_json(json.dumps(plain))
    return record


def canonical_json(plain: object) -> str:
    """One text for one value: sorted keys, no spaces, no NaN."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def short_hash(plain: object, *, length: int = 10) -> str:
    """The first `length` hex digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(plain).encode()).hexdigest()[:length]


class TrialStatus(StrEnum):
    """How a trial ended."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    INFEASIBLE = "infeasible"
    FAILED = "failed"


class Verdict(StrEnum):
    """What a trial does after an epoch: it goes on, ends for now, or ends for good."""

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One axis of the search, such as `miou` to maximize."""

    metric: str
    direction: Direction

    def loss(self, value: float) -> float:
        """The value as something to minimise."""
        return -value if self.direction == "maximize" else value

    def value(self, loss: float) -> float:
        """The value that `loss` came from."""
        return -loss if self.direction == "maximize" else loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One number, and all it takes to compare it; `interval`: 95 % over the images of its split."""

    metric: str
    value: float
    split: Split | None = None
    spread: float | None = None
    interval: tuple[float, float] | None = None
    device: str | None = None
    runtime: str | None = None
    precision: str | None = None
    threads: int | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"{self.metric} must be finite, got {self.value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What determines a network before any pruning."""

    encoder: str
    decoder: str
    decoder_width: int
    pretrained: bool | str = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """Per-channel mean and standard deviation of RGB in units of 0 to 255."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if any(value <= 0 for value in self.std):
            raise ValueError(f"std must be positive, got {self.std}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """What an imported dataset is; `fingerprint` keys caches and results.

    `size` is (height, width) in pixels. `class_pixel_share` and `normalisation` come from the
    train split, ignored pixels left out. `class_images` counts, for each split and class, the
    images in which the class occurs. A `resize` by letterbox names its padding.
    """

    name: str
    task: Literal["segmentation"]
    classes: tuple[str, ...]
    size: tuple[int, int]
    counts: Mapping[str, int]
    class_pixel_share: tuple[float, ...]
    class_images: Mapping[str, tuple[int, ...]]
    normalisation: Normalisation
    fingerprint: str
    ignore_index: int | None = None
    resize: Resize = STRETCH

    @property
    def absent_from_train(self) -> tuple[str, ...]:
        """The classes that no image of train holds."""
        images = self.class_images["train"]
        return tuple(name for name, held in zip(self.classes, images, strict=True) if held == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialConfig:
    """A fully concrete trial: a value for every parameter of `TrialParameters`."""

    number: int
    seed: int
    params: Mapping[str, Scalar]

    @property
    def trial_id(self) -> str:
        """A stable name: the trial's number and the hash of its content."""
        content = {"seed": self.seed, "params": dict(self.params)}
        return f"{self.number:04d}-{short_hash(content, length=8)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedChoice:
    """How a trial trains, where that was measured at its start; it keeps to it ever after.

    `step_ms` is what a step took in each way that was tried, `prepare_ms` what making its batch
    took; `not_compiled` says why the network is not compiled although that was asked for.
    """

    precision: str
    layout: str = "channels_last"
    compiled: bool = False
    loader_workers: int = 0
    step_ms: Mapping[str, float] = field(default_factory=dict)
    prepare_ms: float | None = None
    not_compiled: str | None = None

    def __str__(self) -> str:
        threads, why = self.loader_workers, self.not_compiled
        parts = {
            self.precision: True,
            self.layout.replace("_", "-"): True,
            "compiled": self.compiled,
            f"not compiled ({why})": why is not None,
            f"{threads} loader thread(s)": threads > 0,
        }
        return ", ".join(text for text, holds in parts.items() if holds)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialMessage:
    """What a running trial tells the study; `seconds` counts from the start of this attempt.

    `costs` comes once, before any training; `epoch` after each epoch, its checkpoint being on
    disk already; `end` last, with the trial's status. `speed` comes with epochs, where measured.
    """

    kind: Literal["costs", "epoch", "end"]
    seconds: float
    epoch: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    status: TrialStatus | None = None
    reason: str | None = None
    speed: SpeedChoice | None = None

    def __post_init__(self) -> None:
        if (self.kind == "end") != (self.status is not None):
            raise ValueError(f"only an end has a status, got {self.kind} with {self.status}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """The end of a trial. `checkpoint` is relative to the study's folder."""

    config: TrialConfig
    status: TrialStatus
    epochs: int
    measurements: tuple[Measurement, ...] = ()
    checkpoint: str | None = None
    reason: str | None = None
    seconds: float = 0.0

    def value(self, metric: str) -> float | None:
        """The value of one metric, or None where it was not measured."""
        return value_of(self.measurements, metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where an artifact comes from."""

    trial_id: str
    kind: Literal["trial", "student"]
    precision: Literal["fp32", "int8"]
    recipe: Mapping[str, Scalar] = field(default_factory=dict)
    teacher: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What can be ranked and exported. `artifact` (ONNX) is relative to the study's folder.

    `for_size_alone` marks an INT8 form that is no faster than the same network in FP32, and a
    pruned student that is no faster than its teacher.
    """

    candidate_id: str
    artifact: str
    lineage: Lineage
    params: Mapping[str, Scalar]
    normalisation: Normalisation
    measurements: tuple[Measurement, ...] = ()
    for_size_alone: bool = False

    def value(self, metric: str, split: Split | None = None) -> float | None:
        """The value of one metric, or None where it was not measured."""
        return value_of(self.measurements, metric, split)


def value_of(
    measurements: tuple[Measurement, ...], metric: str, split: Split | None = None
) -> float | None:
    """The first value of `metric` (on `split`, where one is named), or None."""
    for measurement in measurements:
        if measurement.metric == metric and split in (None, measurement.split):
            return measurement.value
    return None
