"""Whether a converted file computes what its source does, on real images.

Shapes: N images; h, w of the network; K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from automl.bundle.batched import MIN_AGREEMENT
from automl.formats.network import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What is allowed.

    `relative_error` and `mean_error` are the largest and the mean difference of logits, as shares
    of the largest logit; `equal_pixels` is the least share of pixels of the same class.
    """

    relative_error: float
    mean_error: float
    equal_pixels: float


#: INT8 runtimes round at different places, so single logits may be far apart; the mean difference
#: is held to what holds for batches of a bundle.
TOLERANCES: dict[Literal["fp32", "int8"], Tolerance] = {
    "fp32": Tolerance(relative_error=1e-3, mean_error=1e-3, equal_pixels=MIN_AGREEMENT),
    "int8": Tolerance(relative_error=0.1, mean_error=0.02, equal_pixels=MIN_AGREEMENT),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How near the logits of a file are to its source's, on `images` images, `batch` at a time."""

    batch: int
    images: int
    max_error: float
    relative_error: float
    mean_error: float
    equal_pixels: float


def agreement(
    source: Run, converted: Run, images_nchw: NDArray[np.float32], *, batch: int
) -> Agreement:
    """Compare on every image and its mirror image; the source takes one image at a time.

    The mirror images make two different ones of a single golden sample: images that a batch mixes
    up would not be seen where all are alike. Raises ValueError for logits of another shape.
    """
    given_nchw = np.concatenate([images_nchw, images_nchw[..., ::-1]])
    expected_nkhw = np.concatenate([source(image_chw[None]) for image_chw in given_nchw])
    actual_nkhw = np.concatenate([converted(images) for images in _batches(given_nchw, batch)])[
        : len(expected_nkhw)
    ]
    if actual_nkhw.shape != expected_nkhw.shape:
        raise ValueError(f"gives logits of shape {actual_nkhw.shape}, not {expected_nkhw.shape}")
    difference_nkhw = np.abs(actual_nkhw - expected_nkhw)
    largest = float(np.abs(expected_nkhw).max())
    max_error = float(difference_nkhw.max())
    equal = actual_nkhw.argmax(axis=1) == expected_nkhw.argmax(axis=1)
    return Agreement(
        batch=batch,
        images=len(expected_nkhw),
        max_error=max_error,
        relative_error=max_error / largest,
        mean_error=float(difference_nkhw.mean()) / largest,
        equal_pixels=float(equal.mean()),
    )


def fault(found: Agreement, allowed: Tolerance) -> str | None:
    """Why a file is refused; None where it is not. A difference that is no number is a fault."""
    near = found.relative_error <= allowed.relative_error and found.mean_error <= allowed.mean_error
    if near and found.equal_pixels >= allowed.equal_pixels:
        return None
    return (
        f"{found.batch} at a time its logits differ by up to {found.relative_error:.2g} of the "
        f"largest (at most {allowed.relative_error:g}), in the mean by {found.mean_error:.2g} "
        f"(at most {allowed.mean_error:g}), and {found.equal_pixels:.3%} of the pixels are equal "
        f"(at least {allowed.equal_pixels:.1%})"
    )


def _batches(images_nchw: NDArray[np.float32], batch: int) -> Iterator[NDArray[np.float32]]:
    """All images, `batch` at a time; the last ones are filled up with the first."""
    for start in range(0, len(images_nchw), batch):
        places = np.arange(start, start + batch) % len(images_nchw)
        yield np.ascontiguousarray(images_nchw[places])
