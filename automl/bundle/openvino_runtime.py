"""Models in OpenVINO, in single precision; the only importer of openvino. Needs no torch.

OpenVINO computes in bfloat16 by default on processors that have it. It is told not to, so that it
is compared with a runtime that computes the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from automl.errors import BundleError


def open_openvino(
    content: bytes, *, threads: int
) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Compile the content of an ONNX file for the CPU with so many threads; raises BundleError."""
    core = openvino.Core()
    try:
        compiled = core.compile_model(core.read_model(content, b""), "CPU", _options(threads))
    except Exception as error:  # OpenVINO raises RuntimeError, and others of its bindings
        raise BundleError(f"OpenVINO cannot open it: {error}") from error
    request = compiled.create_infer_request()

    def run(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        request.infer([images], share_inputs=True)
        masks: NDArray[np.uint8] = request.get_output_tensor(0).data
        return masks

    return run


def write_ir(content: bytes, path: Path) -> None:
    """Write the content of an ONNX file as OpenVINO IR: `path` (.xml), its weights beside it.

    Weights stay float32, where OpenVINO's own default is to halve them; INT8 stays INT8.
    """
    model = openvino.Core().read_model(content, b"")
    openvino.save_model(model, path, compress_to_fp16=False)


def open_ir(path: Path, *, threads: int) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Compile OpenVINO IR of one input and one output for the CPU with so many threads."""
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", _options(threads))
    request = compiled.create_infer_request()

    def run(images_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        request.infer([images_nchw])
        return np.array(request.get_output_tensor(0).data)

    return run


def _options(threads: int) -> dict[str, object]:
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        # The process is pinned as a whole, before.
        "ENABLE_CPU_PINNING": False,
    }
