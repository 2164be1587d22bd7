"""Ranges of a network's tensors, from what they are on calibration images.

Three methods of ONNX Runtime: the smallest and largest value seen (`minmax`); the range whose
quantized histogram diverges least from the float one (`entropy`); and the range that leaves out
`CUT_PERCENT` of the values (`percentile`). The last two bound outliers, and are no better without.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

Method = Literal["minmax", "entropy", "percentile"]

#: The lowest and the highest value of a tensor, by its name.
Ranges = Mapping[str, tuple[float, float]]

#: The share of a tensor's values, in percent and both ends together, that `percentile` leaves out.
CUT_PERCENT = 0.01

_METHODS: Mapping[Method, tuple[CalibrationMethod, Mapping[str, Any]]] = {
    "minmax": (CalibrationMethod.MinMax, {}),
    "entropy": (CalibrationMethod.Entropy, {}),
    # A range that is symmetric about 0 would waste half of uint8 on what follows a ReLU.
    "percentile": (
        CalibrationMethod.Percentile,
        {"percentile": 100 - CUT_PERCENT, "symmetric": False},
    ),
}

#: Histograms are made of so many images at a time: every tensor of each is held until then.
_IMAGES_AT_ONCE = 4


class Images(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Feeds images one by one and counts them."""

    def __init__(self, input_name: str, images: Iterable[NDArray[np.float32]]) -> None:
        self._input_name = input_name
        self._images = iter(images)
        self.count = 0

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next image by the name of the input; None after the last one."""
        image_nchw = next(self._images, None)
        if image_nchw is None:
            return None
        self.count += 1
        return {self._input_name: image_nchw}


class _Some(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """The next few feeds of a reader."""

    def __init__(self, feeds: list[dict[str, NDArray[np.float32]]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._feeds, None)


def calibrate(prepared: Path, images: Images, method: Method, operators: list[str]) -> Ranges:
    """The ranges of the tensors around `operators` in the network `prepared`, over all images.

    Raises ValueError where there is no image.
    """
    kind, options = _METHODS[method]
    with tempfile.TemporaryDirectory(prefix="automl-ranges-") as scratch, _silent():
        calibrator = create_calibrator(
            prepared,
            operators,
            augmented_model_path=str(Path(scratch, "augmented.onnx")),
            calibrate_method=kind,
            extra_options=dict(options),
        )
        for feeds in _portions(images):
            calibrator.collect_data(_Some(feeds))
        tensors = calibrator.compute_data()
    if tensors is None:
        raise ValueError("calibration needs at least 1 image, got none")
    return {name: _pair(data.range_value) for name, data in tensors.items()}


def _portions(images: Images) -> Iterator[list[dict[str, NDArray[np.float32]]]]:
    while feeds := list(islice(images, _IMAGES_AT_ONCE)):
        yield feeds


def _pair(values: tuple[NDArray[np.float32], NDArray[np.float32]]) -> tuple[float, float]:
    low, high = values
    return low.item(), high.item()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Histograms are made with words on standard output."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
