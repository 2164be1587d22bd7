"""INT8 by post-training static quantization in ONNX Runtime.

Activations are uint8 per tensor, weights int8 per output channel, ranges from the smallest and
largest value seen in calibration: the fastest and most accurate setting of those measured on this
project's networks (int8 activations are twice as slow, per-tensor weights lose accuracy). Resizes
stay in float32: that was 1 to 5 % faster on each of five networks, and rounds less.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from automl.errors import TrialError
from automl.store import atomic

_KEPT_IN_FLOAT = frozenset({"Resize"})


class _Images(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Feeds images one by one and counts them."""

    def __init__(self, input_name: str, images: Iterable[NDArray[np.float32]]) -> None:
        self._input_name = input_name
        self._images = iter(images)
        self.count = 0

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        image_nchw = next(self._images, None)
        if image_nchw is None:
            return None
        self.count += 1
        return {self._input_name: image_nchw}


def quantize_int8(
    core: Path, destination: Path, calibration: Iterable[NDArray[np.float32]]
) -> None:
    """Write the network `core` (ONNX, float32) with INT8 weights and activations (QDQ).

    `calibration` yields images as the network takes them, float32 (1, 3, h, w), normalised; it is
    read once. The result keeps the network's input and output, is opened before it is written, and
    is the same for the same network and images. Raises TrialError when there is no image, or when
    ONNX Runtime cannot quantize the network.
    """
    reader = _Images(onnx.load(core).graph.input[0].name, calibration)
    with tempfile.TemporaryDirectory(prefix="automl-int8-") as folder, _quiet():
        prepared, quantized = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        try:
            quant_pre_process(core, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                quantized,
                reader,
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=_quantized_operators(prepared),
                calibrate_method=CalibrationMethod.MinMax,
            )
            _check_opens(quantized)
        except Exception as error:  # ONNX Runtime raises many kinds, Exception itself among them
            raise TrialError(_explain(core, reader.count, error)) from error
        atomic.write_bytes(destination, quantized.read_bytes())


def _quantized_operators(network: Path) -> list[str]:
    present = {node.op_type for node in onnx.load(network).graph.node}
    return sorted(present - _KEPT_IN_FLOAT)


def _explain(core: Path, num_images: int, error: Exception) -> str:
    if num_images == 0:
        return f"{core}: cannot be quantized: calibration needs at least 1 image, got none"
    return f"{core}: cannot be quantized with {num_images} images: {error}"


def _check_opens(path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the quantizer tells the root logger (advice that is followed already)."""
    root = logging.getLogger()
    root.addFilter(_is_not_advice)
    try:
        yield
    finally:
        root.removeFilter(_is_not_advice)


def _is_not_advice(record: logging.LogRecord) -> bool:
    return "onnxruntime" not in record.pathname or record.levelno >= logging.ERROR
