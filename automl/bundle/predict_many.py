"""A bundle on many images and videos: one that cannot be read does not end the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from automl.bundle.inference import Predict
from automl.bundle.inputs import Input
from automl.bundle.loading import Bundle
from automl.bundle.masks import mask_picture, overlay_picture
from automl.bundle.predict import class_shares, mask_of, write_picture
from automl.data.decode import read_image
from automl.data.video import read_frames
from automl.errors import DataError, UsageError

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """The folders of masks and, where wanted, of overlays; each `every`-th frame counts."""

    masks: Path
    overlays: Path | None = None
    every: int = 1

    def __post_init__(self) -> None:
        for option, folder in (("--out", self.masks), ("--overlay", self.overlays)):
            if folder is not None and (folder.is_file() or folder.suffix.lower() == ".png"):
                raise UsageError(f"{option}: several images need a folder, got the file {folder}")
        if self.overlays is not None and self.overlays.resolve() == self.masks.resolve():
            raise UsageError(f"--out and --overlay must be different folders, got {self.masks}")

    def check(self, inputs: Sequence[Input]) -> None:
        """Raise UsageError where a result would take the place of an input."""
        sources = {each.path.resolve() for each in inputs}
        for folder in filter(None, (self.masks, self.overlays)):
            for each in inputs:
                if (folder / f"{each.stem}.png").resolve() in sources:
                    raise UsageError(f"{folder}: the result of {each.path} would replace an input")


@dataclass(slots=True, kw_only=True)
class Summary:
    """What became of the inputs; `failures` are those that could not be read, with the reason."""

    classes: tuple[str, ...]
    num_masks: int = 0
    seconds: float = 0.0
    model_seconds: float = 0.0
    failures: list[tuple[Path, str]] = field(default_factory=list)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def lines(self, masks: Path) -> list[str]:
        """The summary for people."""
        failed = f", {_counted(len(self.failures), 'input')} failed" if self.failures else ""
        lines = [f"{masks}: {_counted(self.num_masks, 'mask')}{failed}"]
        if not self.num_masks:
            return lines
        shares = class_shares(self.classes, self.pixels)
        lines += [f"  {name:<20} {share:7.2%}" for name, share in shares]
        rate = self.num_masks / self.seconds if self.seconds > 0 else float("inf")
        own_ms = self.model_seconds / self.num_masks * 1e3
        pace = f"{rate:.1f} images/s, the model alone {own_ms:.1f} ms an image"
        return [*lines, f"in {self.seconds:.1f} s: {pace}"]


def predict_all(
    bundle: Bundle,
    inputs: Sequence[Input],
    destination: Destination,
    *,
    predict: Predict,
    tell: Callable[[str], None],
    clock: Callable[[], float] = time.perf_counter,
) -> Summary:
    """Write the mask of each image, and of the frames of videos in a folder of each one's name.

    `predict` makes the masks. An input that cannot be read, or that the model cannot be run on, is
    told at once and the others go on. Raises UsageError where a result cannot be written, since no
    other one could be either.
    """
    destination.check(inputs)
    count = len(bundle.manifest.classes)
    summary = Summary(classes=bundle.manifest.classes, pixels=np.zeros(count, np.int64))
    start = clock()
    for each in inputs:
        try:
            for stem, image_hwc in _images(each, destination.every):
                before = clock()
                mask_hw = mask_of(predict, image_hwc, each.path)
                summary.model_seconds += clock() - before
                _write(bundle, stem, image_hwc, mask_hw, destination)
                summary.num_masks += 1
                summary.pixels += np.bincount(mask_hw.ravel(), minlength=count)
        except DataError as error:
            summary.failures.append((each.path, str(error)))
            tell(str(error))
    summary.seconds = clock() - start
    return summary


def _images(source: Input, every: int) -> Iterator[tuple[Path, Image]]:
    if not source.is_video:
        yield source.stem, read_image(source.path)
        return
    for number, frame_hwc in read_frames(source.path, every=every):
        yield source.stem / f"{number:06d}", frame_hwc


def _write(
    bundle: Bundle, stem: Path, image_hwc: Image, mask_hw: Image, destination: Destination
) -> None:
    name, colours = f"{stem}.png", bundle.manifest.colours
    write_picture(destination.masks / name, mask_picture(mask_hw, colours))
    if destination.overlays is not None:
        overlay = overlay_picture(image_hwc, mask_hw, colours)
        write_picture(destination.overlays / name, overlay)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
