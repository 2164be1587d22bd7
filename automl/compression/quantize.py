"""INT8 by static quantization in ONNX Runtime (QDQ): weights and activations.

Activations are uint8 per tensor, weights int8: int8 activations were twice as slow. Resizes stay in
float32: that was 1 to 5 % faster on each of five networks, and rounds less. The rest is a scheme:
weights per output channel or per tensor, ranges calibrated by one of three methods or learnt, nodes
that stay in float32.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
from onnxruntime.quantization.shape_inference import quant_pre_process

from automl.compression.calibrate import Images, Method, Ranges, calibrate
from automl.errors import TrialError
from automl.store import atomic

_KEPT_IN_FLOAT = frozenset({"Resize"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Scheme:
    """How a network is quantized.

    `ranges` replace what calibration finds of the tensors that they name; `float_nodes` names nodes
    that are left as they are. Nodes have these names once `prepare` has simplified the network.
    """

    per_channel: bool = True
    method: Method = "minmax"
    ranges: Ranges = field(default_factory=dict)
    float_nodes: tuple[str, ...] = ()


def quantize_int8(
    core: Path,
    destination: Path,
    calibration: Iterable[NDArray[np.float32]],
    scheme: Int8Scheme = Int8Scheme(),
) -> None:
    """Write the network `core` (ONNX, float32) with INT8 weights and activations (QDQ).

    `calibration` yields images as the network takes them, float32 (1, 3, h, w), normalised; it is
    read once. The result keeps the network's input and output, is opened before it is written, and
    is the same for the same network and images. Raises TrialError when there is no image, or when
    ONNX Runtime cannot quantize the network.
    """
    reader = Images(onnx.load(core).graph.input[0].name, calibration)
    with tempfile.TemporaryDirectory(prefix="automl-int8-") as folder, quiet():
        prepared = Path(folder, "prepared.onnx")
        try:
            prepare(core, prepared)
            ranges = calibrate(prepared, reader, scheme.method, quantized_operators(prepared))
            content = quantized(prepared, ranges, scheme)
            _check_opens(content)
        except Exception as error:  # ONNX Runtime raises many kinds, Exception itself among them
            raise TrialError(_explain(core, reader.count, error)) from error
        atomic.write_bytes(destination, content)


def prepare(core: Path, prepared: Path) -> None:
    """Write `core` simplified, with the shapes of its tensors."""
    quant_pre_process(core, prepared, skip_symbolic_shape=True)


def quantized(
    prepared: Path, ranges: Ranges, scheme: Int8Scheme, *, only: tuple[str, ...] = ()
) -> bytes:
    """The content of the quantized form of a network; of its nodes `only` where some are named."""
    model: ModelProto = load_model_with_shape_infer(prepared)
    quantizer = QDQQuantizer(
        model,
        scheme.per_channel,
        False,  # noqa: FBT003  the whole range of int8
        QuantType.QInt8,
        QuantType.QUInt8,
        _tensors(ranges, scheme.ranges),
        list(only),
        list(scheme.float_nodes),
        quantized_operators(prepared),
        {},
    )
    quantizer.quantize_model()
    with tempfile.TemporaryDirectory(prefix="automl-int8-") as scratch:
        saved = Path(scratch, "int8.onnx")
        quantizer.model.save_model_to_file(str(saved))
        return saved.read_bytes()


def quantized_operators(network: Path) -> list[str]:
    """The kinds of a network's operators that are quantized, where ONNX Runtime knows how."""
    present = {node.op_type for node in onnx.load(network).graph.node}
    return sorted(present - _KEPT_IN_FLOAT)


def _tensors(calibrated: Ranges, learnt: Ranges) -> TensorsData:
    pairs = {name: learnt.get(name, pair) for name, pair in calibrated.items()}
    as_float32 = {
        name: (np.array(low, np.float32), np.array(high, np.float32))
        for name, (low, high) in pairs.items()
    }
    return TensorsData(CalibrationMethod.MinMax, as_float32)


def _explain(core: Path, num_images: int, error: Exception) -> str:
    if num_images == 0:
        return f"{core}: cannot be quantized: calibration needs at least 1 image, got none"
    return f"{core}: cannot be quantized with {num_images} images: {error}"


def _check_opens(content: bytes) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what the quantizer tells the root logger (advice that is followed already)."""
    root = logging.getLogger()
    root.addFilter(_is_not_advice)
    try:
        yield
    finally:
        root.removeFilter(_is_not_advice)


def _is_not_advice(record: logging.LogRecord) -> bool:
    return "onnxruntime" not in record.pathname or record.levelno >= logging.ERROR
