"""`bundle.json`: what a bundle is, for programs. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from automl.bundle.migrations import migrated
from automl.data.letterbox import Frame
from automl.errors import BundleError
from automl.records import (
    IGNORE,
    Lineage,
    Normalisation,
    Scalar,
    Split,
)
from automl.resize import STRETCH, Resize

#: The version of the manifest that this program writes; `migrations` brings earlier ones to it.
SCHEMA_VERSION = 3

#: What a bundle's numbers may depend on.
PACKAGES = (
    "automl",
    "torch",
    "timm",
    "segmentation-models-pytorch",
    "torch-pruning",
    "onnx",
    "onnxruntime",
    "numpy",
    "pillow",
)

#: What more they depend on where they were measured in another runtime than ONNX Runtime.
_RUNTIME_PACKAGES: Mapping[str, tuple[str, ...]] = {"openvino": ("openvino", "nncf")}

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Byte = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[Byte, Byte, Byte]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InputContract(_Record):
    """What the model takes, and how the file brings it to the network.

    `size` is (height, width) at which the network itself works, `resize` how images come to it; a
    letterbox names the colour of its padding.
    """

    size: tuple[Count, Count]
    resize: Resize = STRETCH
    normalisation: Normalisation
    layout: Literal["HWC"] = "HWC"
    dtype: Literal["uint8"] = "uint8"
    channels: Literal["RGB"] = "RGB"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.resize.is_letterbox and self.resize.padding is None:
            raise ValueError("a letterbox must name the colour of its padding")
        return self

    @property
    def frame(self) -> Frame:
        """What images are brought to."""
        return Frame(self.size, self.resize)


class Latency(_Record):
    """Milliseconds for one image of the network's own size.

    In ONNX Runtime it is the whole file that is measured. OpenVINO cannot read the resizes in it:
    there it is the same network with the same normalisation and choice of the class, without them.

    `p50_ms` and `p95_ms` are wall time. `cpu_p50_ms` is processor time, with 1 thread only: that
    of several adds up. `ratio_to_default` is the number to compare models by: the processor time
    where there is 1 thread, else the wall time, as a ratio to the study's default model's, timed in
    the same rounds.
    """

    p50_ms: Positive
    p95_ms: Positive
    device: str
    runtime: str
    threads: Count
    batch: Count
    cpu_p50_ms: Positive | None = None
    ratio_to_default: Positive | None = None


class FurtherSeeds(_Record):
    """What the model's recipe gave when it was repeated with `count` further seeds.

    `mean` plus and minus `half_width` is the 95 % interval of the mean of `metric`; a single seed
    has none. The model itself is not among them.
    """

    metric: str
    mean: float
    half_width: NotNegative | None
    count: Count


class ImageIntervals(_Record):
    """How far scores of a split would be apart on other images of its kind.

    `bounds` maps the name of a score to the ends of its 95 % interval: percentiles of the scores of
    `resamples` draws of the split's `images`, each with replacement (bootstrap, by `seed`). The
    file is the same in all of them: of other trainings it says nothing, see `further_seeds`.
    """

    images: Count
    resamples: Count
    seed: Annotated[int, Field(ge=0)]
    bounds: Mapping[str, tuple[float, float]]


class Digests(_Record):
    """The last links from dataset to file, each the SHA-256 of a content, in hex.

    `core` is the exported network without anything around it; a bundle that was migrated from an
    earlier version does not tell it. `model` is `model.onnx`.
    """

    core: Digest | None
    model: Digest


class Manifest(_Record):
    """All that a user of a bundle needs to know; `metrics` maps split to name to value.

    They were measured in `metrics_runtime`. `intervals` has those of the mean IoU and of each
    class's IoU, where they were measured.

    Where the file comes from reads dataset (`dataset_fingerprint`) -> trial (`lineage.trial_id`,
    `params`, `seeds`) -> `lineage.teacher` -> `lineage.recipe` -> `digests.core` ->
    `digests.model`.
    """

    schema_version: Literal[3] = 3
    name: str
    task: Literal["segmentation"]
    classes: tuple[str, ...]
    colours: tuple[Colour, ...]
    ignore_value: Literal[255] = 255
    input: InputContract
    metrics: Mapping[Split, Mapping[str, float]]
    metrics_measured_on: Literal["images and masks resized to input.size"] = (
        "images and masks resized to input.size"
    )
    metrics_runtime: str = "onnxruntime"
    intervals: Mapping[Split, ImageIntervals] = Field(default_factory=dict)
    further_seeds: Mapping[Split, FurtherSeeds] = Field(default_factory=dict)
    latency: Latency
    size_mb: Positive
    params_m: NotNegative
    macs_g: NotNegative
    precision: Literal["fp32", "int8"]
    lineage: Lineage
    params: Mapping[str, Scalar]
    dataset_name: str
    dataset_fingerprint: str
    seeds: Mapping[str, int]
    packages: Mapping[str, str]
    digests: Digests | None = None
    created: AwareDatetime

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not 1 <= len(self.classes) <= IGNORE:
            raise ValueError(f"classes must be 1 to {IGNORE}, got {len(self.classes)}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes must differ, got {', '.join(self.classes)}")
        if len(self.colours) != len(self.classes):
            raise ValueError(
                f"colours must be one a class, got {len(self.colours)} for {len(self.classes)}"
            )
        for split, found in self.intervals.items():
            strange = sorted(found.bounds.keys() - self.metrics.get(split, {}).keys())
            if strange:
                raise ValueError(f"intervals of {split}: metrics have no {strange[0]}")
            if any(low > high for low, high in found.bounds.values()):
                raise ValueError(f"intervals of {split}: low must not be above high")
        if self.precision != self.lineage.precision:
            raise ValueError(
                f"precision must be that of the lineage ({self.lineage.precision}), "
                f"got {self.precision}"
            )
        return self


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """A manifest as plain JSON values, in the order of its fields."""
    return manifest.model_dump(mode="json")


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema of `bundle.json`, for other programs that read it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Manifest.model_json_schema(),
    }


def parse_manifest(text: str) -> Manifest:
    """Read a manifest of this or an earlier version.

    Raises BundleError with every fault, or naming a version that is not known.
    """
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"not JSON: {error}") from error
    current = json.dumps(migrated(plain, to=SCHEMA_VERSION))
    try:
        return Manifest.model_validate_json(current)
    except ValidationError as error:
        raise BundleError("; ".join(_faults(error))) from error


def packages_of(runtime: str) -> tuple[str, ...]:
    """What the numbers of a bundle may depend on that were measured in a runtime."""
    return (*PACKAGES, *_RUNTIME_PACKAGES.get(runtime, ()))


def package_versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The installed versions of packages; those not installed are left out."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _faults(error: ValidationError) -> list[str]:
    return [
        ": ".join(filter(None, [".".join(map(str, fault["loc"])), fault["msg"]]))
        for fault in error.errors(include_url=False)
    ]
