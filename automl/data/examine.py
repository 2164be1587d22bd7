"""Reading one sample and saying all that is wrong with it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from automl.data.decode import (
    Labels,
    UInt8,
    is_turned_by_exif,
    read_image,
    read_mask,
)
from automl.data.faults import Fault, fault_from, refuse
from automl.data.folders import FolderDataset, Sample
from automl.data.letterbox import Frame
from automl.errors import DataError
from automl.records import IGNORE

Counts = npt.NDArray[np.int64]

#: Wrong values of a mask that a message spells out.
_SHOWN_VALUES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What is known of a sample after reading it.

    `class_pixels` counts the pixels of each class, and `digest` is a hash of the image, both at the
    size of the files; None where something is wrong with the sample. `image` (H, W, 3) and `mask`
    (H, W; class indices and 255) have the size asked for; None also where none was.
    """

    sample: Sample
    faults: tuple[Fault, ...] = ()
    class_pixels: Counts | None = None
    digest: bytes | None = None
    image: UInt8 | None = None
    mask: UInt8 | None = None


def examine(sample: Sample, dataset: FolderDataset, frame: Frame | None) -> Examined:
    """Read an image and its mask with class indices for its values, and bring both into a frame.

    Without a `frame` the pixels are not kept.
    """
    faults: list[Fault] = []
    image, mask = _pixels(sample, dataset, faults)
    if image is None or mask is None:
        return Examined(sample=sample, faults=tuple(faults))
    return Examined(
        sample=sample,
        class_pixels=class_pixels(mask, len(dataset.classes)),
        digest=hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest(),
        image=None if frame is None else frame.image(image),
        mask=None if frame is None else frame.mask(mask),
    )


def read_sample(sample: Sample, dataset: FolderDataset) -> tuple[UInt8, UInt8]:
    """An image (H, W, 3) and its mask (H, W; class indices and 255) at the size of the files.

    Raises DataError with all that is wrong with them.
    """
    faults: list[Fault] = []
    image, mask = _pixels(sample, dataset, faults)
    refuse(dataset.root, faults)
    assert image is not None
    assert mask is not None
    return image, mask


def class_pixels(mask_hw: UInt8, num_classes: int) -> Counts:
    """How many pixels each class has in a mask; those of 255 count for none."""
    found = np.bincount(mask_hw.ravel(), minlength=IGNORE + 1)[:num_classes]
    return found.astype(np.int64)


def _pixels(
    sample: Sample, dataset: FolderDataset, faults: list[Fault]
) -> tuple[UInt8 | None, UInt8 | None]:
    """Both of a sound sample; where either is None, faults say why."""
    image = _image(sample.image, faults)
    labels = _labels(sample.mask, faults)
    if image is not None and labels is not None and image.shape[:2] != labels.shape:
        problem = _size_problem(sample, image, labels)
        faults.append(Fault(path=sample.mask, problem=problem))
    mask = None if labels is None else _class_indices(sample.mask, labels, dataset, faults)
    return (None, None) if faults else (image, mask)


def _image(path: Path, faults: list[Fault]) -> UInt8 | None:
    try:
        return read_image(path)
    except DataError as error:
        faults.append(fault_from(path, error))
        return None


def _labels(path: Path, faults: list[Fault]) -> Labels | None:
    try:
        return read_mask(path)
    except DataError as error:
        faults.append(fault_from(path, error))
        return None


def _size_problem(sample: Sample, image: UInt8, labels: Labels) -> str:
    shape, expected = labels.shape, image.shape[:2]
    problem = f"the mask is {shape[1]}x{shape[0]}, its image {sample.image} {_by(expected)}"
    if shape == expected[::-1] and is_turned_by_exif(sample.image):
        problem += " once turned upright by its EXIF orientation: turn the mask too"
    return problem


def _by(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]} (width x height)"


def _class_indices(
    path: Path, labels: Labels, dataset: FolderDataset, faults: list[Fault]
) -> UInt8 | None:
    if not dataset.labels:
        return None  # no classes are known: a fault of the whole dataset tells that already
    table = np.full(65536, -1, dtype=np.int16)
    table[list(dataset.labels)] = np.arange(len(dataset.labels))
    if dataset.ignore_index is not None:
        table[dataset.ignore_index] = IGNORE
    indices = table[np.clip(labels, 0, len(table) - 1)]
    wrong = (indices < 0) | (labels < 0) | (labels >= len(table))
    if not wrong.any():
        return indices.astype(np.uint8)
    values = [int(value) for value in np.unique(labels[wrong])]
    share = 100.0 * float(wrong.mean())
    present = {int(value) for value in np.unique(labels)}
    problem = (
        f"labels out of range: {_shown(values)} on {_percent(share)} % of the pixels; "
        f"allowed are {_allowed(dataset)}{_hint(path, values, present)}"
    )
    faults.append(Fault(path=path, problem=problem))
    return None


def _percent(share: float) -> str:
    return f"{share:.1f}" if share >= 0.1 else f"{share:.2g}"


def _shown(values: list[int]) -> str:
    text = ", ".join(map(str, values[:_SHOWN_VALUES]))
    hidden = len(values) - _SHOWN_VALUES
    return f"{text} (and {hidden} more values)" if hidden > 0 else text


def _allowed(dataset: FolderDataset) -> str:
    values = dataset.labels
    dense = values == tuple(range(len(values)))
    text = f"0..{len(values) - 1}" if dense else ", ".join(map(str, values))
    ignored = dataset.ignore_index
    return text if ignored is None else f"{text} and {ignored} (ignored)"


def _hint(path: Path, values: list[int], present: set[int]) -> str:
    if path.suffix.lower() in {".jpg", ".jpeg"}:
        return ". JPEG changes labels: save masks as PNG"
    if present <= {0, 255}:
        return (
            ". This looks like a 0/255 mask: name its values in dataset.yaml, "
            "`classes: {0: background, 255: NAME}`"
        )
    if values == [255]:
        return ". If 255 marks pixels to ignore, write `ignore_index: 255` in dataset.yaml"
    if len(values) > _SHOWN_VALUES:
        return ". This looks like a grey or anti-aliased picture: draw masks without smoothing"
    return ""
