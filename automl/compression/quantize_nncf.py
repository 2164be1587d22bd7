"""INT8 as OpenVINO's own compressor (NNCF, the extra `openvino`) lays it out; its only importer.

It rounds the inputs of layers, where ONNX Runtime's form rounds outputs too. OpenVINO runs networks
with hardswish faster in this form; ONNX Runtime runs all networks slower in it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from automl.errors import TrialError
from automl.store import atomic


def quantize_int8_nncf(
    core: Path, destination: Path, calibration: Iterable[NDArray[np.float32]]
) -> None:
    """Write the network `core` (ONNX, float32) with INT8 weights and activations (QDQ).

    Takes what `quantize_int8` takes. Raises TrialError where NNCF is missing or cannot do it.
    """
    if importlib.util.find_spec("nncf") is None:
        raise TrialError("nncf is not installed: install the extra automl[openvino]")
    model = onnx.load(core)
    name = model.graph.input[0].name
    feeds = [{name: image_nchw} for image_nchw in calibration]
    try:
        content = _compressed(model, feeds)
    except Exception as error:  # its exceptions share no narrower base
        raise TrialError(
            f"{core}: cannot be quantized by NNCF with {len(feeds)} images: {error}"
        ) from error
    atomic.write_bytes(destination, content)


def _compressed(model: onnx.ModelProto, feeds: list[dict[str, NDArray[np.float32]]]) -> bytes:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        import nncf  # noqa: PLC0415  # an extra, and slow to load

        nncf.set_log_level(logging.ERROR)
        # Biases corrected with the activations of the quantized network: the fast way lost a point.
        quantized = nncf.quantize(
            model, nncf.Dataset(feeds), subset_size=len(feeds), fast_bias_correction=False
        )
    content: bytes = quantized.SerializeToString(deterministic=True)
    return content
