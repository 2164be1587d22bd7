"""What each rung of the INT8 ladder makes of a network: a quantized form, and how it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from automl.compression.calibrate import Ranges
from automl.compression.quantize import Int8Scheme, quantize_int8
from automl.compression.quantize_nncf import quantize_int8_nncf
from automl.compression.sensitivity import layer_errors, sensitive_layers
from automl.errors import TrialError
from automl.records import Scalar

#: Fine-tunes a network for INT8: writes its export to the path, gives the ranges that it learnt.
Tune = Callable[[Path], Ranges]

#: Histograms are costly, and the layers one by one are: so many of the images do.
_HISTOGRAM_IMAGES = 16
_LAYER_IMAGES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What rungs are made of: the network `core`, normalised images (1, 3, h, w), fine-tuning.

    `calibration` gives at most so many images, anew at each call, and `images` is how many ranges
    are made of; `tune` is None where only the exported network is there, which cannot be trained.
    """

    core: Path
    calibration: Callable[[int], Iterable[NDArray[np.float32]]]
    images: int
    tune: Tune | None


@dataclass(frozen=True, slots=True)
class RungKind:
    """How a rung is made; rungs of one `layout` have the same operators in INT8, or fewer."""

    make: Callable[[Material, Path], Mapping[str, Scalar]]
    layout: str = "onnxruntime"


def _per_tensor(material: Material, destination: Path) -> Mapping[str, Scalar]:
    scheme = Int8Scheme(per_channel=False)
    quantize_int8(material.core, destination, _all(material), scheme)
    return {}


def _per_channel(material: Material, destination: Path) -> Mapping[str, Scalar]:
    quantize_int8(material.core, destination, _all(material))
    return {}


def _entropy(material: Material, destination: Path) -> Mapping[str, Scalar]:
    quantize_int8(material.core, destination, _few(material), Int8Scheme(method="entropy"))
    return {}


def _percentile(material: Material, destination: Path) -> Mapping[str, Scalar]:
    quantize_int8(material.core, destination, _few(material), Int8Scheme(method="percentile"))
    return {}


def _mixed(material: Material, destination: Path) -> Mapping[str, Scalar]:
    errors = layer_errors(material.core, material.calibration(_LAYER_IMAGES))
    kept = sensitive_layers(errors)
    scheme = Int8Scheme(float_nodes=kept)
    quantize_int8(material.core, destination, _all(material), scheme)
    return {"float_layers": ", ".join(kept), "layers": len(errors)}


def _nncf(material: Material, destination: Path) -> Mapping[str, Scalar]:
    quantize_int8_nncf(material.core, destination, _all(material))
    return {}


def _qat(material: Material, destination: Path) -> Mapping[str, Scalar]:
    if material.tune is None:
        raise TrialError("an exported network cannot be fine-tuned: give the checkpoint")
    tuned = destination.with_name("tuned.onnx")
    ranges = material.tune(tuned)
    quantize_int8(tuned, destination, _all(material), Int8Scheme(ranges=ranges))
    return {"learnt_ranges": len(ranges)}


def _all(material: Material) -> Iterable[NDArray[np.float32]]:
    return material.calibration(material.images)


def _few(material: Material) -> Iterable[NDArray[np.float32]]:
    return material.calibration(min(material.images, _HISTOGRAM_IMAGES))


#: The rungs by name, least costly first.
RUNG_KINDS: Mapping[str, RungKind] = {
    "per_tensor": RungKind(_per_tensor),
    "per_channel": RungKind(_per_channel),
    "nncf": RungKind(_nncf, layout="nncf"),
    "entropy": RungKind(_entropy),
    "percentile": RungKind(_percentile),
    "mixed": RungKind(_mixed),
    "qat": RungKind(_qat),
}
