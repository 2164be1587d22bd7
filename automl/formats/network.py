"""What a format is written from: a network as an ONNX file, and as torch modules where it has them.

All formats hold the bare network, without what a bundle's graph puts around it.

Shapes: N images; h, w of the network; K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from automl.bundle.batched import ANY, Batch
from automl.bundle.runtime import open_bytes

#: Maps normalised float32 images (N, 3, h, w) to logits (N, K, h, w).
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network of `size` = (h, w); `why_no_module` says why it has no `module`.

    `core` is its ONNX file for one image, see `bundle/network.py`. `module` is in evaluation mode,
    on the CPU. Only `core` can be INT8.
    """

    core: Path
    module: nn.Module | None
    why_no_module: str
    size: tuple[int, int]
    precision: Literal["fp32", "int8"]

    def torch(self) -> nn.Module:
        """The torch module, which is there for formats that were not refused before."""
        assert self.module is not None
        return self.module

    def onnx(self, batch: Batch) -> bytes:
        """The content of the ONNX file for so many images."""
        content = self.core.read_bytes()
        return content if batch == 1 else for_any_batch(content)


def for_any_batch(content: bytes) -> bytes:
    """The ONNX file `content` for one image, as one for N.

    Convolutions do not look at that axis. A network that was traced with a constant there computes
    something else or nothing, so what is made of the result must be compared.
    """
    model = onnx.load_from_string(content)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = ANY
    # Shapes that were inferred for one image.
    del model.graph.value_info[:]
    changed: bytes = model.SerializeToString(deterministic=True)
    return changed


def open_onnx(content: bytes) -> Run:
    """Run an ONNX file in ONNX Runtime on one thread."""
    session = open_bytes(content, threads=1)
    name = session.get_inputs()[0].name

    def run(images_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        logits_nkhw: NDArray[np.float32] = session.run(None, {name: images_nchw})[0]
        return logits_nkhw

    return run
