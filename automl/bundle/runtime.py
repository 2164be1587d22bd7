"""Sessions of ONNX Runtime, set up for steady latency on a CPU. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from automl.errors import BundleError

_ERRORS_ONLY = 3


@dataclass(frozen=True, slots=True)
class Session:
    """A served network: an image of any size in, a mask of that size out."""

    runtime: onnxruntime.InferenceSession
    input_name: str

    def run(self, image_hwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Label each pixel of a uint8 (H, W, 3) RGB image; raises BundleError on another input."""
        if image_hwc.dtype != np.uint8 or image_hwc.ndim != 3 or image_hwc.shape[2] != 3:
            raise BundleError(
                "an image must be uint8 of shape (height, width, 3), "
                f"got {image_hwc.dtype} of shape {image_hwc.shape}"
            )
        if 0 in image_hwc.shape:
            raise BundleError(f"an image must have pixels, got shape {image_hwc.shape}")
        mask_hw: NDArray[np.uint8] = self.runtime.run(
            None, {self.input_name: np.ascontiguousarray(image_hwc)}
        )[0]
        return mask_hw


@dataclass(frozen=True, slots=True)
class CoreSession:
    """A bare network: normalised float32 (1, 3, h, w) in, logits (1, K, h, w) out."""

    runtime: onnxruntime.InferenceSession
    input_name: str

    def run(self, pixels_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits of one normalised image."""
        logits_nkhw: NDArray[np.float32] = self.runtime.run(None, {self.input_name: pixels_nchw})[0]
        return logits_nkhw


def open_session(path: Path, *, threads: int) -> Session:
    """Open a wrapped network on the CPU with so many threads; raises BundleError.

    Threads do not spin while they wait, so that a served model leaves the cores to others.
    """
    return _session(_open(path, threads), str(path))


def open_model(content: bytes, name: str, *, threads: int) -> Session:
    """Open the content of a wrapped network in the same way; `name` is what messages call it."""
    return _session(_open_model(content, name, threads), name)


def open_core(path: Path, *, threads: int) -> CoreSession:
    """Open a bare network in the same way."""
    runtime = _open(path, threads)
    return CoreSession(runtime, runtime.get_inputs()[0].name)


def open_bytes(content: bytes, *, threads: int) -> onnxruntime.InferenceSession:
    """Open the content of an ONNX file of any signature in the same way."""
    return _open_model(content, "this model", threads)


def _open(path: Path, threads: int) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise BundleError(f"{path}: no such file")
    return _open_model(str(path), str(path), threads)


def _open_model(model: str | bytes, name: str, threads: int) -> onnxruntime.InferenceSession:
    if threads < 1:
        raise BundleError(f"threads must be at least 1, got {threads}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no narrower base
        raise BundleError(f"{name}: ONNX Runtime cannot open it: {error}") from error


def _session(runtime: onnxruntime.InferenceSession, name: str) -> Session:
    _check_signature(name, runtime)
    return Session(runtime, runtime.get_inputs()[0].name)


def _check_signature(name: str, runtime: onnxruntime.InferenceSession) -> None:
    inputs, outputs = runtime.get_inputs(), runtime.get_outputs()
    types = [value.type for value in (*inputs, *outputs)]
    ranks = [len(value.shape) for value in (*inputs, *outputs)]
    if types != ["tensor(uint8)", "tensor(uint8)"] or ranks != [3, 2]:
        raise BundleError(
            f"{name}: must map one uint8 (height, width, 3) image to one uint8 (height, width) "
            f"mask, but maps {_signature(inputs)} to {_signature(outputs)}"
        )


def _signature(values: list[onnxruntime.NodeArg]) -> str:
    return ", ".join(f"{value.name}: {value.type} {value.shape}" for value in values)
