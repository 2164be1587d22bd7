"""How the mask of an image is made: plainly, in windows, or as the mean of several views.

Probabilities are averaged, not masks: softmax of the logits of each view, turned back. A view at
scale s shows the network 1/s of the picture's sides at a time: above 1 in overlapping windows,
below 1 with the picture mirrored beyond its border. (A bundle resizes what it gets to its own size,
so an enlarged picture would come to the network as it was.)

Logits of windows are blended by Hann weights. Source: Pielawski and Wählby 2020, "Introducing Hann
windows for reducing edge-effects in patch-based image segmentation".

Shapes: H, W of the image; K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from automl.bundle.loading import Bundle
from automl.errors import UsageError
from automl.resize import VIEW_SCALES

UInt8 = NDArray[np.uint8]
Floats = NDArray[np.float32]
#: (height, width).
Size = tuple[int, int]
#: An image (H, W, 3) to its logits (K, H, W), or to its mask (H, W).
Logits = Callable[[UInt8], Floats]
Predict = Callable[[UInt8], UInt8]

MAX_OVERLAP = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class InferencePlan:
    """What is shown to the network. `window` is in pixels of the image; None is all of it.

    Windows overlap by `overlap` of their sides at least. Each scale is a view, and with `flip` its
    mirror image is another.
    """

    window: Size | None = None
    overlap: float = 0.25
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        low, high = VIEW_SCALES
        if not self.scales or not all(low <= scale <= high for scale in self.scales):
            raise ValueError(f"scales must be {low:g} to {high:g}, got {self.scales}")
        if len(set(self.scales)) < len(self.scales):
            raise ValueError(f"scales must differ, got {self.scales}")
        if not 0 <= self.overlap <= MAX_OVERLAP:
            raise ValueError(f"overlap must be 0 to {MAX_OVERLAP}, got {self.overlap}")
        if self.window is not None and min(self.window) < 1:
            raise ValueError(f"the sides of a window must be at least 1, got {self.window}")

    @property
    def is_plain(self) -> bool:
        """Whether the bundle's own file does it."""
        return self.window is None and self.num_views == 1 and self.scales == (1.0,)

    @property
    def num_views(self) -> int:
        """How many predictions are averaged."""
        return len(self.scales) * (2 if self.flip else 1)

    def text(self) -> str:
        """The plan in words."""
        if self.is_plain:
            return "the bundle's own file"
        parts = []
        if self.num_views > 1 or self.scales != (1.0,):
            scales = ", ".join(f"{scale:g}" for scale in self.scales)
            mirrored = ", each also mirrored" if self.flip else ""
            parts.append(f"probabilities of {self.num_views} views (scale {scales}{mirrored})")
        if self.window is not None:
            height, width = self.window
            parts.append(f"windows of {height} x {width}, {self.overlap:.0%} overlap, Hann weights")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a bundle is run: by a plan, with so many threads of the CPU."""

    plan: InferencePlan = field(default_factory=InferencePlan)
    threads: int = 1


def predictor(bundle: Bundle, plan: InferencePlan, *, threads: int) -> Predict:
    """What makes masks by the plan; raises UsageError where onnx is needed and missing."""
    if plan.is_plain:
        return bundle.predict
    logits = _logits(bundle, threads)
    return lambda image_hwc: predicted(logits, image_hwc, plan)


def predicted(logits: Logits, image_hwc: UInt8, plan: InferencePlan) -> UInt8:
    """The mask (H, W) of an image by the plan."""
    if plan.num_views == 1:
        found = _view_logits(logits, image_hwc, plan, plan.scales[0])
    else:
        found = probabilities(logits, image_hwc, plan)
    mask_hw: UInt8 = found.argmax(axis=0).astype(np.uint8)
    return mask_hw


def probabilities(logits: Logits, image_hwc: UInt8, plan: InferencePlan) -> Floats:
    """The mean of the class probabilities of all views: float32 (K, H, W)."""
    total: Floats | None = None
    for scale in plan.scales:
        for mirrored in (False, True) if plan.flip else (False,):
            seen = image_hwc[:, ::-1] if mirrored else image_hwc
            found = softmax(_view_logits(logits, seen, plan, scale))
            found = found[:, :, ::-1] if mirrored else found
            total = found.copy() if total is None else total + found
    assert total is not None
    return total / np.float32(plan.num_views)


def softmax(logits_khw: Floats) -> Floats:
    """Probabilities over the first axis."""
    powers = np.exp(logits_khw - logits_khw.max(axis=0, keepdims=True))
    shares: Floats = powers / powers.sum(axis=0, keepdims=True)
    return shares


def _logits(bundle: Bundle, threads: int) -> Logits:
    try:
        import onnx  # noqa: F401, PLC0415  (a bundle alone needs none)
    except ModuleNotFoundError as fault:
        raise UsageError(
            "windows and views (--window, --tta-scales, --tta-flip) need the package onnx: "
            "pip install onnx"
        ) from fault
    from automl.bundle.logits import LogitsSession  # noqa: PLC0415  (imports onnx)

    return LogitsSession.of(bundle, threads=threads).run


def _view_logits(logits: Logits, image_hwc: UInt8, plan: InferencePlan, scale: float) -> Floats:
    size = (image_hwc.shape[0], image_hwc.shape[1])
    whole = size if plan.window is None else _at_most(plan.window, size)
    seen = (max(1, round(whole[0] / scale)), max(1, round(whole[1] / scale)))
    margins = [max(0, seen[axis] - size[axis]) for axis in (0, 1)]
    before = [margin // 2 for margin in margins]
    around = [(first, margin - first) for first, margin in zip(before, margins, strict=True)]
    padded = np.pad(image_hwc, (*around, (0, 0)), mode="symmetric")
    found = windowed(logits, padded, seen, plan.overlap)
    return found[:, before[0] : before[0] + size[0], before[1] : before[1] + size[1]]


def windowed(logits: Logits, image_hwc: UInt8, window: Size, overlap: float) -> Floats:
    """Logits (K, H, W) blended of windows that cover the image; of one window as they are."""
    height, width = image_hwc.shape[:2]
    places = list(_places((height, width), window, overlap))
    if len(places) == 1:
        return logits(image_hwc)
    weights_hw = np.outer(_hann(window[0]), _hann(window[1]))
    total: Floats | None = None
    shares = np.zeros((height, width), np.float32)
    for rows, columns in places:
        found = logits(image_hwc[rows, columns])
        if total is None:
            total = np.zeros((len(found), height, width), np.float32)
        total[:, rows, columns] += found * weights_hw
        shares[rows, columns] += weights_hw
    assert total is not None
    return np.divide(total, shares, out=total)


def _places(size: Size, window: Size, overlap: float) -> Iterator[tuple[slice, slice]]:
    for top in _starts(size[0], window[0], overlap):
        for left in _starts(size[1], window[1], overlap):
            yield slice(top, top + window[0]), slice(left, left + window[1])


def _starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along one side: evenly spread, the first and the last at the ends."""
    free = length - window
    if free <= 0:
        return [0]
    count = math.ceil(free / max(1, math.floor(window * (1 - overlap)))) + 1
    return [round(free * place / (count - 1)) for place in range(count)]


def _hann(length: int) -> Floats:
    """Weights above 0 everywhere, since a border has one window alone."""
    weights: Floats = np.sin(np.pi * (np.arange(length) + 0.5) / length).astype(np.float32) ** 2
    return np.maximum(weights, np.float32(1e-4))


def _at_most(window: Size, size: Size) -> Size:
    return min(window[0], size[0]), min(window[1], size[1])
