"""Imported datasets: uint8 images and masks at training resolution in memory-mapped Arrow files.

A dataset is a folder with `dataset.json` and one Arrow IPC file a split. Each row holds the raw
bytes of one image (H, W, 3, RGB) and of one mask (H, W; class indices, 255 where ignored), so an
image is a view of the file's pages: nothing is decoded or copied, and all processes of a machine
share the memory.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from automl.data.columns import column_rows, mapped_batches
from automl.errors import DataError
from automl.records import IGNORE, SPLITS, DatasetInfo, Split, from_json, to_json

#: Changes when datasets written before can no longer be read.
FORMAT_VERSION = 2
INFO_FILE = "dataset.json"

UInt8 = npt.NDArray[np.uint8]

_WARNINGS = TypeAdapter(tuple[str, ...])


def split_file(root: Path, split: Split) -> Path:
    """Where a dataset keeps the rows of one split."""
    return root / f"{split}.arrow"


class ArrowSplit:
    """The samples of one split, by row; pickles as its path and maps the file again."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self.path = path
        self.size = size
        height, width = size
        batches = _record_batches(path, image_bytes=height * width * 3, mask_bytes=height * width)
        self._images = [column_rows(batch, "image", (height, width, 3)) for batch in batches]
        self._masks = [column_rows(batch, "mask", (height, width)) for batch in batches]
        self._names = [batch.column("name") for batch in batches]
        self._length = sum(len(rows) for rows in self._images)
        self._batch_rows = max(1, len(self._images[0])) if self._images else 1

    def __len__(self) -> int:
        return self._length

    def __reduce__(self) -> tuple[type[ArrowSplit], tuple[Path, tuple[int, int]]]:
        return ArrowSplit, (self.path, self.size)

    def image(self, row: int) -> UInt8:
        """The image (H, W, 3) of a row, RGB: a read-only view of the file."""
        batch, within = self._place(row)
        image: UInt8 = self._images[batch][within]
        return image

    def mask(self, row: int) -> UInt8:
        """The mask (H, W) of a row, class indices or 255: a read-only view of the file."""
        batch, within = self._place(row)
        mask: UInt8 = self._masks[batch][within]
        return mask

    def name(self, row: int) -> str:
        """The name of a row's sample: its path below `images/`, without the suffix."""
        batch, within = self._place(row)
        return str(self._names[batch][within].as_py())

    @cached_property
    def classes_present(self) -> npt.NDArray[np.bool_]:
        """Whether each class (up to the highest label) occurs in each row's mask, (rows, K).

        The first call reads all masks.
        """
        present = np.zeros((self._length, IGNORE), dtype=np.bool_)
        for row in range(self._length):
            present[row] = np.bincount(self.mask(row).ravel(), minlength=IGNORE + 1)[:IGNORE] > 0
        used = np.flatnonzero(present.any(0))
        return present[:, : used[-1] + 1 if len(used) else 0]

    def _place(self, row: int) -> tuple[int, int]:
        if not 0 <= row < self._length:
            raise IndexError(f"row must be in 0..{self._length - 1}, got {row} ({self.path})")
        # All batches but the last have the same number of rows: `writing` sees to it.
        return divmod(row, self._batch_rows)


class Dataset:
    """An imported dataset on disk; raises DataError where `root` holds none that is whole.

    `root` is absolute, whatever was given: processes with another working directory open it, too.
    `warnings` are what the import found in the source that is no fault but spoils scores, such as
    an image that lies in two splits.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        document = _read_document(self.root)
        self.info = document.info
        self.warnings = document.warnings
        for split in SPLITS:
            rows, declared = len(self.split(split)), self.info.counts[split]
            if rows != declared:
                path = split_file(root, split)
                raise DataError(f"{path}: holds {rows} samples, {INFO_FILE} declares {declared}")

    def __reduce__(self) -> tuple[type[Dataset], tuple[Path]]:
        return Dataset, (self.root,)

    def split(self, name: Split) -> ArrowSplit:
        """The samples of one split: train, val or test."""
        if name not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {name!r}")
        return self._splits[name]

    @cached_property
    def _splits(self) -> dict[Split, ArrowSplit]:
        return {split: ArrowSplit(split_file(self.root, split), self.info.size) for split in SPLITS}


def open_dataset(path: Path) -> Dataset:
    """Open an imported dataset; raises DataError saying what is missing or damaged."""
    return Dataset(path)


def is_dataset(path: Path) -> bool:
    """Whether a folder looks like an imported dataset, whole or not."""
    return (path / INFO_FILE).is_file()


def dataset_document(info: DatasetInfo, warnings: Sequence[str]) -> dict[str, Any]:
    """What `dataset.json` holds, as plain JSON values."""
    return {"format_version": FORMAT_VERSION, "warnings": list(warnings), "info": to_json(info)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """What `dataset.json` holds. The fingerprint in `info` covers no warning."""

    info: DatasetInfo
    warnings: tuple[str, ...]


def _read_document(root: Path) -> _Document:
    path = root / INFO_FILE
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{root}: no imported dataset here ({INFO_FILE} is missing)") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    version = plain.get("format_version") if isinstance(plain, dict) else None
    if version != FORMAT_VERSION:
        raise DataError(
            f"{path}: format_version must be {FORMAT_VERSION}, got {version!r}: import it again"
        )
    try:
        info = from_json(DatasetInfo, plain.get("info"))
        return _Document(info=info, warnings=_WARNINGS.validate_python(plain.get("warnings")))
    except ValidationError as error:
        raise DataError(f"{path}: not a description of a dataset: {error}") from error


def _record_batches(path: Path, *, image_bytes: int, mask_bytes: int) -> list[Any]:
    expected = split_schema(image_bytes, mask_bytes)
    try:
        schema, batches = mapped_batches(path)
    except FileNotFoundError:
        raise DataError(f"{path}: missing: import the dataset again") from None
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: damaged, import the dataset again: {error}") from error
    if not schema.equals(expected):
        raise DataError(f"{path}: its columns must be {expected}, got {schema}")
    return batches


def split_schema(image_bytes: int, mask_bytes: int) -> Any:
    """The Arrow schema of a split's file, given the bytes of one image and of one mask."""
    return pa.schema(
        [
            pa.field("name", pa.string(), nullable=False),
            pa.field("image", pa.binary(image_bytes), nullable=False),
            pa.field("mask", pa.binary(mask_bytes), nullable=False),
        ]
    )
