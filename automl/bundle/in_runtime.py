"""An exported file in the runtime of a study's target: as what is scored, and as what is timed.

ONNX Runtime runs the file itself. OpenVINO cannot read the resizes around the network (`Scan`), so
there it is the form of `batched` for one image: the same network with the same normalisation and
choice of the class, at its own size, where the file resizes nothing either. Needs no torch.

Shapes: h, w of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from automl.bundle.batched import batched
from automl.bundle.runtime import open_session
from automl.bundle.runtimes import READS_BUNDLES, RUNTIMES, Run
from automl.errors import BundleError
from automl.measurement.latency import Clock, process_clock, thread_clock

UInt8 = NDArray[np.uint8]


class Labeller(Protocol):
    """Labels images of the network's own size."""

    def run(self, image_hwc: UInt8) -> UInt8:
        """The mask (h, w) of a uint8 (h, w, 3) RGB image."""


def form_of(content: bytes, runtime: str, size: tuple[int, int]) -> bytes:
    """What a runtime opens of the content of an exported file."""
    return content if runtime in READS_BUNDLES else batched(content, size=size, batch=1)


def batch_of(runtime: str) -> tuple[int, ...]:
    """The axes that images have in that form before (h, w, 3)."""
    return () if runtime in READS_BUNDLES else (1,)


def open_labeller(artifact: Path, runtime: str, size: tuple[int, int], *, threads: int) -> Labeller:
    """Open an exported file to be scored; raises BundleError."""
    if runtime in READS_BUNDLES:
        return open_session(artifact, threads=threads)
    return _Batched(_opened(artifact, runtime, size, threads))


def open_call(
    artifact: Path, runtime: str, size: tuple[int, int], *, threads: int
) -> Callable[[], object]:
    """Open an exported file to be timed: each call labels a blank image of the network's size."""
    blank = np.zeros((*batch_of(runtime), *size, 3), dtype=np.uint8)
    if runtime in READS_BUNDLES:
        session = open_session(artifact, threads=threads)
        return lambda: session.run(blank)
    run = _opened(artifact, runtime, size, threads)
    return lambda: run(blank)


def clock_of(runtime: str) -> Clock:
    """What takes its processor time.

    ONNX Runtime computes in the thread that calls. Others may do so in threads of their own, so
    that of the whole process counts there, in which nothing else computes meanwhile.
    """
    return thread_clock if runtime in READS_BUNDLES else process_clock


def _opened(artifact: Path, runtime: str, size: tuple[int, int], threads: int) -> Run:
    try:
        form = form_of(artifact.read_bytes(), runtime, size)
        return RUNTIMES[runtime](form, threads=threads)
    except BundleError as error:
        raise BundleError(f"{artifact}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Batched:
    """A form for one image as what is scored."""

    function: Run

    def run(self, image_hwc: UInt8) -> UInt8:
        """The mask; it is copied, as runtimes use their memory again."""
        masks_nhw = self.function(np.ascontiguousarray(image_hwc)[None])
        return np.array(masks_nhw[0])
