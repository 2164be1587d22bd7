"""A network as ONNX: normalised pixels in, logits out, nothing around it (see `wrap`).

The TorchScript exporter is used on purpose. Both exporters give files of equal speed in ONNX
Runtime; this one needs 0.3 to 1 s where the `torch.export` one needs 4 to 5 s, and its bytes depend
on the network alone. Its known danger, a traced constant that should have been computed, cannot
occur at one fixed input size, and `parity` compares every export with the network it came from.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from automl.bundle.runtime import open_core
from automl.bundle.wrap import MIN_OPSET
from automl.errors import TrialError
from automl.store import atomic

#: Names of the network's input (normalised float32 (1, 3, h, w)) and output ((1, K, h, w)).
PIXELS = "pixels_nchw"
LOGITS = "logits_nkhw"

#: Largest accepted difference of logits, as a share of the largest logit.
PARITY_TOLERANCE = 1e-3

_EXPORTER_WARNINGS: tuple[tuple[str, type[Warning]], ...] = (
    ("You are using the legacy TorchScript-based ONNX export", DeprecationWarning),
    ("The feature will be removed. Please remove usage", DeprecationWarning),
    # torch.jit.TracerWarning: what depends on the input's size is fixed, as it should be.
    (".*might cause the trace to be incorrect", Warning),
    (".*registered as constants in the trace", Warning),
)


def export_network(model: nn.Module, *, size: tuple[int, int], path: Path) -> None:
    """Write `model` in evaluation mode as ONNX for one image of `size` = (h, w).

    The model maps float32 (1, 3, h, w) to logits (1, K, h, w). It is copied: mode, device and
    gradients of the given one stay as they are. The same network gives the same bytes. Raises
    TrialError where the network cannot be exported, or where the export does not compute what the
    network does (`parity`, on one random image).
    """
    network = _cpu_copy(model)
    example_nchw = torch.zeros(1, 3, *size)
    with atomic.staged_file(path) as staged:
        try:
            with torch.no_grad(), _exporter_warnings_ignored():
                logits_nkhw = network(example_nchw)
                torch.onnx.export(
                    network,
                    (example_nchw,),
                    str(staged),
                    input_names=[PIXELS],
                    output_names=[LOGITS],
                    opset_version=MIN_OPSET,
                    dynamo=False,
                )
        except (RuntimeError, ValueError, TypeError) as error:
            kind = type(model).__name__
            raise TrialError(f"{kind} cannot be exported to ONNX: {error}") from error
        exported = onnx.load(staged)
        _fix_output_shape(exported, tuple(logits_nkhw.shape))
        staged.write_bytes(exported.SerializeToString(deterministic=True))
        parity(model, staged, _random_images(size))


def parity(model: nn.Module, path: Path, images_nchw: NDArray[np.float32]) -> float:
    """The largest difference between the logits of `model` and of its export at `path`.

    `images_nchw` holds normalised images (N, 3, h, w); each runs alone. Raises TrialError when the
    difference exceeds `PARITY_TOLERANCE` times the largest logit, or where a logit is not finite.
    """
    network = _cpu_copy(model)
    session = open_core(path, threads=1)
    largest_difference = largest_logit = 0.0
    for image_chw in images_nchw:
        with torch.no_grad():
            expected_nkhw = network(torch.from_numpy(image_chw[None])).numpy()
        difference = np.abs(session.run(image_chw[None]) - expected_nkhw).max()
        largest_difference = float(np.maximum(largest_difference, difference))
        largest_logit = float(np.maximum(largest_logit, np.abs(expected_nkhw).max()))
    if not largest_difference <= PARITY_TOLERANCE * largest_logit:
        raise TrialError(
            f"the export does not compute what the network does: logits of up to "
            f"{largest_logit:.4g} differ by up to {largest_difference:.4g}; "
            f"allowed is {PARITY_TOLERANCE:g} of the largest logit"
        )
    return largest_difference


def _random_images(size: tuple[int, int]) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(1, 3, *size)).astype(np.float32)


def _cpu_copy(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).cpu().float().eval()


def _fix_output_shape(model: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    """Write the traced output shape down; symbolic where padding was computed in the graph."""
    dims = model.graph.output[0].type.tensor_type.shape.dim
    for dim, extent in zip(dims, shape, strict=True):
        dim.dim_value = extent


@contextmanager
def _exporter_warnings_ignored() -> Iterator[None]:
    """Ignore that this exporter is deprecated, and that it fixes what depends on the size."""
    with warnings.catch_warnings():
        for message, category in _EXPORTER_WARNINGS:
            warnings.filterwarnings("ignore", message, category)
        yield
