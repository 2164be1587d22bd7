"""Writing an imported dataset: one Arrow IPC file a split, and `dataset.json`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from automl.data.check import lost_classes, lost_splits, no_counts, pixel_shares
from automl.data.dataset import INFO_FILE, UInt8, dataset_document, split_file, split_schema
from automl.data.examine import class_pixels
from automl.errors import DataError
from automl.records import (
    IGNORE,
    SPLITS,
    DatasetInfo,
    Normalisation,
    Split,
    canonical_json,
    to_json,
)
from automl.resize import STRETCH, Resize
from automl.store.atomic import write_json

#: What becomes of a class that train has no pixel of: the dataset is refused, or it is told.
AbsentClasses = Literal["refused", "told"]

#: Rows of each record batch of a file, save for the last.
BATCH_ROWS = 64
#: The least standard deviation (grey levels), so that a flat dataset can be normalised.
_LEAST_STD = 1.0


class DatasetWriter(AbstractContextManager["DatasetWriter"]):
    """Fills an empty folder with a dataset: `add` the samples, then `finish`.

    The caller makes it atomic by giving a staging folder. Samples of a split keep their order.
    """

    def __init__(
        self,
        root: Path,
        *,
        classes: Sequence[str],
        size: tuple[int, int],
        resize: Resize = STRETCH,
    ) -> None:
        self._root = root
        self._classes = tuple(classes)
        self._size = size
        self._resize = resize
        schema = split_schema(size[0] * size[1] * 3, size[0] * size[1])
        self._files = {split: _SplitFile(split_file(root, split), schema) for split in SPLITS}
        self._counts = no_counts(len(classes))
        self._digests: dict[Split, list[bytes]] = {split: [] for split in SPLITS}
        self._moments = Moments()

    def __exit__(self, *_: object) -> None:
        self._close_files()

    def add(self, split: Split, name: str, image: UInt8, mask: UInt8) -> None:
        """Append a sample: image (H, W, 3) and mask (H, W) of class indices and 255."""
        if image.shape != (*self._size, 3) or mask.shape != self._size:
            raise ValueError(
                f"size must be {self._size}, got image {image.shape}, mask {mask.shape}"
            )
        self._files[split].add(name, image, mask)
        self._counts[split].add(class_pixels(mask, len(self._classes)))
        self._digests[split].append(hashlib.sha256(image.tobytes() + mask.tobytes()).digest())
        if split == "train":
            self._moments.add(image, mask)

    def finish(
        self,
        name: str,
        *,
        ignore_index: int | None,
        warnings: Sequence[str] = (),
        held: Mapping[int, tuple[int, Path]] = MappingProxyType({}),
        absent: AbsentClasses = "refused",
    ) -> DatasetInfo:
        """Write the rest of the rows and `dataset.json`, with the warnings about the source.

        Raises DataError where train has no pixel of a class at this size (`held`, as in `Tally`,
        names what had some), unless `absent` has that told as a warning, and where a split has no
        labelled pixel.
        """
        self._close_files()
        lost = lost_splits(self._counts, self._size)
        if absent == "refused":
            lost = lost_classes(self._counts, self._classes, self._size, held) + lost
        if lost:
            raise DataError("\n".join(f"{name}: {problem}" for problem in lost))
        info = DatasetInfo(
            name=name,
            task="segmentation",
            classes=self._classes,
            size=self._size,
            counts={split: len(self._digests[split]) for split in SPLITS},
            class_pixel_share=pixel_shares(self._counts["train"]),
            class_images={
                split: tuple(int(count) for count in self._counts[split].images) for split in SPLITS
            },
            normalisation=self._moments.normalisation(),
            fingerprint=self._fingerprint(),
            ignore_index=ignore_index,
            resize=self._resize,
        )
        told = [
            f"class {name!r} is absent from train: nothing more is learnt of it"
            for name in info.absent_from_train
        ]
        write_json(self._root / INFO_FILE, dataset_document(info, [*told, *warnings]))
        return info

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()

    def _fingerprint(self) -> str:
        """SHA-256 over classes, size, resize and the samples of each split, by their hashes.

        So neither names nor the order of files play a part.
        """
        total = hashlib.sha256(repr((self._classes, self._size)).encode())
        if self._resize.is_letterbox:  # what is stretched has the fingerprint that it always had
            total.update(canonical_json(to_json(self._resize)).encode())
        for split in SPLITS:
            total.update(f"{split}:{len(self._digests[split])}:".encode())
            total.update(b"".join(sorted(self._digests[split])))
        return total.hexdigest()


class _SplitFile:
    """An Arrow file that takes samples one by one and writes them in batches."""

    def __init__(self, path: Path, schema: Any) -> None:
        self._schema = schema
        self._file: Any = pa.ipc.new_file(str(path), schema)
        self._names: list[str] = []
        self._images: list[UInt8] = []
        self._masks: list[UInt8] = []

    def add(self, name: str, image: UInt8, mask: UInt8) -> None:
        self._names.append(name)
        self._images.append(image)
        self._masks.append(mask)
        if len(self._names) == BATCH_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is left; a second call does nothing."""
        if self._file is not None:
            self._flush()
            self._file.close()
            self._file = None

    def _flush(self) -> None:
        if not self._names:
            return
        columns = [pa.array(self._names), self._bytes(1, self._images), self._bytes(2, self._masks)]
        self._file.write_batch(pa.record_batch(columns, schema=self._schema))
        self._names, self._images, self._masks = [], [], []

    def _bytes(self, column: int, rows: list[UInt8]) -> Any:
        kind = self._schema.field(column).type
        buffer = pa.py_buffer(np.ascontiguousarray(np.stack(rows)))
        return pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, buffer])


class Moments:
    """Mean and standard deviation of RGB over labelled pixels, in exact integers."""

    def __init__(self) -> None:
        self._histogram: npt.NDArray[np.int64] = np.zeros((3, 256), dtype=np.int64)

    def add(self, image: UInt8, mask: UInt8) -> None:
        """Count an image (H, W, 3) where its mask (H, W) has labels."""
        pixels = image[mask != IGNORE]
        for channel in range(3):
            self._histogram[channel] += np.bincount(pixels[:, channel], minlength=256)

    def normalisation(self) -> Normalisation:
        """Of all pixels that were counted."""
        levels = np.arange(256, dtype=np.float64)
        count = np.maximum(1, self._histogram.sum(axis=1))
        mean = self._histogram @ levels / count
        variance = np.maximum(0.0, self._histogram @ levels**2 / count - mean**2)
        std = np.maximum(_LEAST_STD, np.sqrt(variance))
        return Normalisation(mean=_triple(mean), std=_triple(std))


def _triple(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
