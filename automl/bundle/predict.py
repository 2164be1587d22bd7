"""A bundle on one image file. Needs onnxruntime, numpy, Pillow and pydantic, not torch.

Windows and views need onnx as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from automl.bundle.inference import Manner, Predict, predictor
from automl.bundle.loading import Bundle
from automl.bundle.masks import mask_picture, overlay_picture, png_bytes
from automl.data.decode import read_image
from automl.errors import DataError, UsageError
from automl.store import atomic

#: The bundle's own file on one thread.
PLAINLY = Manner()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What was predicted; `shares` are the classes that occur with their shares of the pixels."""

    width: int
    height: int
    milliseconds: float
    shares: tuple[tuple[str, float], ...]


def predict_file(
    bundle: Path,
    image: Path,
    out: Path,
    *,
    overlay: Path | None = None,
    manner: Manner = PLAINLY,
    clock: Callable[[], float] = time.perf_counter,
) -> Prediction:
    """Segment the image file `image` into the PNG `out`, upright and at the image's own size.

    `out` holds class indices with a palette of the class colours; `overlay` is the image with the
    colours laid over it. `milliseconds` is the time of the prediction alone. Raises BundleError for
    a damaged bundle, DataError for an image that cannot be read or that the model cannot be run on,
    UsageError for a name that is not *.png or cannot be written.
    """
    for path in (out, overlay):
        if path is not None and path.is_dir():
            raise UsageError(
                f"{path}: a folder: name the file to write, such as {path / 'mask.png'}"
            )
        if path is not None and path.suffix.lower() != ".png":
            raise UsageError(f"{path}: pictures are written as PNG, so the name must end in .png")
    named = [path.resolve() for path in (image, out, overlay) if path is not None]
    if len(set(named)) < len(named):
        raise UsageError(f"{out}: the image, --out and --overlay must be different files")
    opened = Bundle.load(bundle, threads=manner.threads)
    predict = predictor(opened, manner.plan, threads=manner.threads)
    image_hwc = read_image(image)
    start = clock()
    mask_hw = mask_of(predict, image_hwc, image)
    milliseconds = (clock() - start) * 1e3
    colours = opened.manifest.colours
    write_picture(out, mask_picture(mask_hw, colours))
    if overlay is not None:
        write_picture(overlay, overlay_picture(image_hwc, mask_hw, colours))
    counts = np.bincount(mask_hw.ravel(), minlength=len(colours))
    return Prediction(
        width=mask_hw.shape[1],
        height=mask_hw.shape[0],
        milliseconds=milliseconds,
        shares=class_shares(opened.manifest.classes, counts),
    )


def mask_of(predict: Predict, image_hwc: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    """The mask of an image of a file; raises DataError, with its name, where that is impossible."""
    try:
        return predict(image_hwc)
    except Exception as error:  # ONNX Runtime's exceptions share no narrower base
        height, width = image_hwc.shape[:2]
        raise DataError(
            f"{path}: the model cannot be run on its {width} x {height} pixels: {error}"
        ) from error


def class_shares(
    classes: Sequence[str], counts: NDArray[np.int64]
) -> tuple[tuple[str, float], ...]:
    """The classes that occur with their shares of the pixels, from the pixels of each."""
    total = counts.sum()
    return tuple(
        (name, float(count / total)) for name, count in zip(classes, counts, strict=True) if count
    )


def write_picture(path: Path, picture: Image.Image) -> None:
    """Write a PNG; raises UsageError that names it where that is not possible."""
    try:
        atomic.write_bytes(path, png_bytes(picture))
    except OSError as error:
        # The error names the hidden file that was to become this one.
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
