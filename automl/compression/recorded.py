"""What a teacher says of fixed views of all training images, recorded once, in an Arrow file.

A view is an image as it was augmented once. A student that meets the same views again learns from
exactly what the teacher said of them, without the teacher. Source: Beyer et al. 2022, "Knowledge
distillation: a good teacher is patient and consistent" (arXiv:2106.05237), section 3.1, whose
consistent teaching has teacher and student see one view; that few fixed views do is not from there.

Answers are kept in float16 at the stride at which they are computed, before they are enlarged.

Shapes: N batch, K classes, C channels, H and W pixels, h and w cells of a map.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from automl.data.columns import column_rows, mapped_batches
from automl.records import from_json, to_json
from automl.store.atomic import write_json

#: The bytes of a number.
BYTES = 2

_FILE = "answers.arrow"
_ABOUT = "answers.json"
_LOGITS, _FEATURES = "logits", "features"
_LARGEST = float(np.finfo(np.float16).max)


class CoarseNet(Protocol):
    """A network that gives its logits before they are enlarged, too."""

    def forward_coarse(self, images_nchw: Tensor) -> tuple[Tensor, Tensor]:
        """The logits (N, K, h, w) and the decoder's features (N, C, h, w)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The shapes of what is recorded of one view; `features` is None where none are."""

    logits: tuple[int, int, int]
    features: tuple[int, int, int] | None


def coarse_answers(teacher: nn.Module, images_nchw: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and features of a teacher at their own stride; of several teachers enlarged ones."""
    if hasattr(teacher, "forward_coarse"):
        return cast("CoarseNet", teacher).forward_coarse(images_nchw)
    outputs: tuple[Tensor, Tensor] = cast("Any", teacher).forward_with_features(images_nchw)
    return outputs


@torch.no_grad()
def record_answers(
    folder: Path,
    teacher: nn.Module,
    images: Iterable[Tensor],
    *,
    features: bool,
    device: torch.device,
) -> None:
    """Record what a teacher says of batches of normalised images (N, 3, H, W), in their order.

    `folder` is there and empty; with `features` those of the decoder are kept, too. The teacher
    stays as it is; a value that float16 cannot hold becomes the largest that it can.
    """
    frozen = copy.deepcopy(teacher).eval().requires_grad_(requires_grad=False).to(device)
    names = (_LOGITS, _FEATURES) if features else (_LOGITS,)
    answered = (
        dict(zip(names, coarse_answers(frozen, batch.to(device)), strict=False)) for batch in images
    )
    first = next(answered, None)
    if first is None:
        raise ValueError("there is no image to record answers of")
    shapes = {name: _shape(maps) for name, maps in first.items()}
    about = Answers(logits=shapes[_LOGITS], features=shapes.get(_FEATURES))
    schema = _schema(about)
    with pa.ipc.new_file(str(folder / _FILE), schema) as writer:
        for maps in chain([first], answered):
            columns = [_column(maps[name]) for name in schema.names]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    write_json(folder / _ABOUT, to_json(about))


class RecordedTeacher:
    """The recorded answers of a folder, by the number of the sample; pickles as its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        about = from_json(Answers, json.loads((folder / _ABOUT).read_text(encoding="utf-8")))
        _, batches = mapped_batches(folder / _FILE)
        self._logits = _rows(batches, _LOGITS, about.logits)
        self._features = (
            None if about.features is None else _rows(batches, _FEATURES, about.features)
        )

    def __reduce__(self) -> tuple[type[RecordedTeacher], tuple[Path]]:
        return RecordedTeacher, (self.folder,)

    def answers(self, samples_n: Tensor, images_nchw: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits (N, K, H, W) of images and features (N, C, h, w) as recorded, in float32."""
        rows = samples_n.tolist()
        logits_nkhw = _taken(self._logits, rows, images_nchw.device)
        size = images_nchw.shape[-2:]
        if logits_nkhw.shape[-2:] != size:
            # As the network itself enlarges them.
            logits_nkhw = F.interpolate(
                logits_nkhw, size=size, mode="bilinear", align_corners=False
            )
        if self._features is None:
            return logits_nkhw, None
        return logits_nkhw, _taken(self._features, rows, images_nchw.device)


class _Rows:
    """One column over all record batches."""

    def __init__(self, parts: list[npt.NDArray[np.float16]]) -> None:
        self._parts = parts
        self._firsts = np.cumsum([0, *(len(part) for part in parts)])

    def __getitem__(self, row: int) -> npt.NDArray[np.float16]:
        if not 0 <= row < self._firsts[-1]:
            raise IndexError(f"sample must be in 0..{self._firsts[-1] - 1}, got {row}")
        part = int(np.searchsorted(self._firsts, row, side="right")) - 1
        values: npt.NDArray[np.float16] = self._parts[part][row - self._firsts[part]]
        return values


def _rows(batches: list[Any], column: str, shape: tuple[int, int, int]) -> _Rows:
    return _Rows([column_rows(batch, column, shape, np.float16) for batch in batches])


def _taken(rows: _Rows, samples: list[int], device: torch.device) -> Tensor:
    stacked = np.stack([rows[sample] for sample in samples])
    return torch.from_numpy(stacked).to(device).float()


def _column(values_nchw: Tensor) -> Any:
    """The rows of a map as fixed-size binary values."""
    limited = values_nchw.float().clamp(-_LARGEST, _LARGEST).cpu().numpy()
    rows = np.ascontiguousarray(limited, dtype=np.float16)
    kind = pa.binary(rows[0].nbytes)
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, pa.py_buffer(rows)])


def _shape(values_nchw: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = values_nchw.shape
    return channels, height, width


def _schema(about: Answers) -> Any:
    shapes = {_LOGITS: about.logits, _FEATURES: about.features}
    return pa.schema(
        [
            pa.field(name, pa.binary(BYTES * int(np.prod(shape))), nullable=False)
            for name, shape in shapes.items()
            if shape is not None
        ]
    )
