"""Which layers lose most by INT8: each one quantized alone, on calibration images.

A layer's error is that of the network's logits with this layer in INT8 and all else in float32:
squared, and divided by that of giving no logits at all. It needs no labels, so nothing is chosen by
the images that judge, and a pass for each layer over a few images.

Source: one-at-a-time analysis as in Wu et al. 2020, "Integer quantization for deep learning
inference", section 5.1, by output error in place of accuracy.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from automl.compression.calibrate import Images, calibrate
from automl.compression.quantize import (
    Int8Scheme,
    prepare,
    quantized,
    quantized_operators,
    quiet,
)
from automl.errors import TrialError

#: Operators with weights; what follows them is quantized with them.
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})

#: Kept in float32 are the worst layers that make up this share of the summed error...
ERROR_SHARE = 0.5

#: ... and at most this share of the layers: beyond, little would be left to gain.
MAX_LAYERS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerError:
    """A layer by the name of its node, and what its INT8 form alone does to the logits."""

    name: str
    error: float


def layer_errors(core: Path, images_nchw: Iterable[NDArray[np.float32]]) -> list[LayerError]:
    """The layers of the network `core` (ONNX, float32), worst first.

    `images_nchw` are normalised images (1, 3, h, w); all are held. Raises TrialError where the
    network cannot be quantized.
    """
    images = list(images_nchw)
    input_name = onnx.load(core).graph.input[0].name
    with tempfile.TemporaryDirectory(prefix="automl-layers-") as folder, quiet():
        prepared = Path(folder, "prepared.onnx")
        try:
            prepare(core, prepared)
            operators = quantized_operators(prepared)
            ranges = calibrate(prepared, Images(input_name, images), "minmax", operators)
            exact = _logits(prepared.read_bytes(), images)
            errors = [
                LayerError(
                    name=name,
                    error=_error(
                        exact,
                        _logits(quantized(prepared, ranges, Int8Scheme(), only=(name,)), images),
                    ),
                )
                for name in _layers(prepared)
            ]
        except Exception as error:  # ONNX Runtime raises many kinds, Exception itself among them
            raise TrialError(f"{core}: its layers cannot be quantized alone: {error}") from error
    return sorted(errors, key=lambda layer: -layer.error)


def sensitive_layers(errors: Sequence[LayerError]) -> tuple[str, ...]:
    """The worst layers, as few as make up `ERROR_SHARE` of the summed error; at least one.

    Squared errors of layers that are quantized together add up about, being nearly independent.
    """
    ordered = sorted(errors, key=lambda layer: -layer.error)
    total = sum(layer.error for layer in ordered)
    most = max(1, int(len(ordered) * MAX_LAYERS))
    kept: list[str] = []
    covered = 0.0
    for layer in ordered[:most]:
        if covered >= ERROR_SHARE * total and kept:
            break
        kept.append(layer.name)
        covered += layer.error
    return tuple(kept)


def _layers(prepared: Path) -> list[str]:
    return [node.name for node in onnx.load(prepared).graph.node if node.op_type in _WEIGHTED]


def _logits(
    content: bytes, images_nchw: Sequence[NDArray[np.float32]]
) -> list[NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return [session.run(None, {name: image})[0] for image in images_nchw]


def _error(exact: Sequence[NDArray[np.float32]], found: Sequence[NDArray[np.float32]]) -> float:
    lost = sum(float(np.square(a - b).sum()) for a, b in zip(exact, found, strict=True))
    return lost / max(sum(float(np.square(a).sum()) for a in exact), 1e-12)
