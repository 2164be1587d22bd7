"""The runtimes that a bundle can be measured in, by name. Needs no torch.

`torch` is a name that people ask for and none that can be had: a bundle holds a graph, not the
network's modules, so there is nothing that torch could run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from importlib import metadata

import numpy as np
from numpy.typing import NDArray

from automl.bundle.runtime import open_bytes
from automl.errors import BundleError, UsageError

#: Maps uint8 images to uint8 masks, in the shapes of the graph that was opened.
Run = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def open_onnxruntime(content: bytes, *, threads: int) -> Run:
    """Open the content of an ONNX file on the CPU; raises BundleError."""
    session = open_bytes(content, threads=threads)
    name = session.get_inputs()[0].name

    def run(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        masks: NDArray[np.uint8] = session.run(None, {name: images})[0]
        return masks

    return run


def _open_openvino(content: bytes, *, threads: int) -> Run:
    missing = absence("openvino", versions())
    if missing is not None:
        raise BundleError(f"openvino: {missing}")
    from automl.bundle.openvino_runtime import open_openvino  # noqa: PLC0415 (an extra)

    return open_openvino(content, threads=threads)


#: Opens the content of an ONNX file: name to function.
RUNTIMES: Mapping[str, Callable[..., Run]] = {
    "onnxruntime": open_onnxruntime,
    "openvino": _open_openvino,
}

#: The one that files are timed in where none is named.
DEFAULT = "onnxruntime"

#: Runtimes that read a bundle's own file; the others get the form of `batched`.
READS_BUNDLES = frozenset({DEFAULT})

_NEVER: Mapping[str, str] = {
    "torch": "a bundle holds an ONNX graph and no torch network, so there is none to run",
}

#: How people write them.
TITLES: Mapping[str, str] = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}

#: All names that can be asked for.
NAMES = (*RUNTIMES, *_NEVER)


def versions() -> dict[str, str]:
    """The runtimes that can be used here, with their versions."""
    found = [name for name in RUNTIMES if importlib.util.find_spec(name) is not None]
    return {name: metadata.version(name) for name in found}


def absence(name: str, present: Mapping[str, str]) -> str | None:
    """Why a runtime cannot be used where `present` are (see `versions`); None where it can.

    Raises BundleError for a name that is none.
    """
    if name not in NAMES:
        raise BundleError(f"runtime: allowed are {', '.join(NAMES)}, got {name!r}")
    if name in _NEVER:
        return _NEVER[name]
    return None if name in present else f"not available here: install the extra automl[{name}]"


def check_runtime(name: str) -> None:
    """Raise UsageError, naming `--runtime`, for one that is not known or not here."""
    if name not in RUNTIMES:
        raise UsageError(f"--runtime: given {name}; allowed: {' or '.join(RUNTIMES)}")
    missing = absence(name, versions())
    if missing is not None:
        raise UsageError(f"--runtime {name}: {missing}")
