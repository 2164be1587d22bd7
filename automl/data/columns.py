"""Columns of fixed-size binary values in Arrow files as arrays over the mapped memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def mapped_batches(path: Path) -> tuple[Any, list[Any]]:
    """The schema and the record batches of a file, mapped; raises OSError or ArrowException."""
    reader = pa.ipc.open_file(pa.memory_map(str(path), "r"))
    return reader.schema, [reader.get_batch(n) for n in range(reader.num_record_batches)]


def column_rows(
    batch: Any, column: str, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8
) -> npt.NDArray[Any]:
    """The rows of a column as one array of rows of this shape: no bytes are copied."""
    array = batch.column(column)
    values = np.frombuffer(array.buffers()[1], dtype=dtype)
    size = int(np.prod(shape))
    first = array.offset * size
    return values[first : first + len(array) * size].reshape(len(array), *shape)
