"""`model.json` beside a converted file: all that its user must know to feed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from automl.bundle.batched import Batch
from automl.formats.parity import Agreement
from automl.records import Normalisation
from automl.resize import Resize


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a network comes from.

    `bundle_sha256` is that of the bundle's `checksums.json`, which lists every file of it; None
    where the source is no bundle. `core_sha256` is that of the network's ONNX file.
    """

    source: str
    bundle_sha256: str | None
    core_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOfFile:
    """What a file takes: images of (height, width) = `size`, (value - mean) / std of each channel.

    `resize` is how images came to this size in training, and has to be done before: `stretch` by
    bilinear resizing with antialiasing, whatever the ratio of the sides; `letterbox` with the ratio
    kept, in the middle of `padding`, which is then to be cut off the logits. `batch` is the number
    of images at once, N for any.
    """

    batch: Batch
    size: tuple[int, int]
    resize: Resize
    normalisation: Normalisation
    layout: Literal["NCHW"] = "NCHW"
    dtype: Literal["float32"] = "float32"
    channels: Literal["RGB"] = "RGB"
    values: Literal["0 to 255, normalised"] = "0 to 255, normalised"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOfFile:
    """What a file gives: a logit for each class and pixel; the largest is the pixel's class."""

    layout: Literal["NKHW"] = "NKHW"
    dtype: Literal["float32"] = "float32"
    values: Literal["logits"] = "logits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """The content of `model.json`; `files` maps the name of each file to its SHA-256."""

    format: str
    files: Mapping[str, str]
    precision: Literal["fp32", "int8"]
    input: InputOfFile
    output: OutputOfFile
    classes: tuple[str, ...]
    origin: Origin
    agreements: tuple[Agreement, ...]
    versions: Mapping[str, str]
    schema_version: Literal[2] = 2
