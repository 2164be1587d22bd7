"""The logits of a bundle at the size of the photo, which its own file does not give away.

    image uint8 (H, W, 3) -> as in the bundle -> core -> logits (K, h, w) -> (K, h, W) -> (K, H, W)

A bundle's graph ends in a mask, so its nodes up to the network's logits are opened as a graph of
their own, in memory. The resize is the bundle's as well: over columns by the same node, over rows
by the same arithmetic, so that the argmax of these logits is the bundle's mask, bit by bit. All
logits are held at once, 4 * K * H * W bytes. Needs onnx and onnxruntime, not torch.

Shapes: H, W of the photo; h, w of the network; K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from automl.bundle.batched import core_logits
from automl.bundle.loading import Bundle, load_sound
from automl.bundle.runtime import open_bytes
from automl.bundle.wrap import IMAGE, MASK

_WIDE = "logits/wide"


@dataclass(frozen=True, slots=True)
class LogitsSession:
    """A bundle's network that gives logits; `height` is the network's own."""

    runtime: onnxruntime.InferenceSession
    height: int

    @classmethod
    def of(cls, bundle: Bundle, *, threads: int) -> Self:
        """Open the logits of a bundle; raises BundleError for a graph that is not of a bundle."""
        content = load_sound(bundle.path).model()
        height = bundle.manifest.input.size[0]
        wide = _ending_in_logits(content, len(bundle.manifest.classes), height)
        return cls(open_bytes(wide, threads=threads), height)

    def run(self, image_hwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The logits (K, H, W) of an image (H, W, 3)."""
        wide_khw = self.runtime.run(None, {IMAGE: np.ascontiguousarray(image_hwc)})[0][0]
        return _rows_resized(wide_khw, image_hwc.shape[0], self.height)


def _ending_in_logits(wrapped: bytes, num_classes: int, height: int) -> bytes:
    model = onnx.load_from_string(wrapped)
    logits = core_logits(model)
    graph = model.graph
    kept = [node for node in graph.node if node.name != MASK]
    columns = [
        helper.make_node("Shape", [IMAGE], ["logits/columns"], start=1, end=2),
        helper.make_node("Concat", ["logits/fixed", "logits/columns"], ["logits/shape"], axis=0),
        helper.make_node(
            "Resize",
            [logits, "", "", "logits/shape"],
            [_WIDE],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        ),
    ]
    fixed = numpy_helper.from_array(np.array([1, num_classes, height], np.int64), "logits/fixed")
    ended = helper.make_graph(
        [*kept, *columns],
        "automl-logits",
        list(graph.input),
        [helper.make_tensor_value_info(_WIDE, TensorProto.FLOAT, [1, num_classes, height, "w"])],
        [*graph.initializer, fixed],
    )
    result = helper.make_model(ended, opset_imports=model.opset_import, producer_name="automl")
    result.ir_version = model.ir_version
    result.functions.extend(model.functions)
    content: bytes = result.SerializeToString(deterministic=True)
    return content


def _rows_resized(wide_khw: NDArray[np.float32], rows: int, height: int) -> NDArray[np.float32]:
    """Bilinear, half-pixel centres, in the float32 steps of the bundle's graph (`wrap`)."""
    half = np.float32(0.5)
    factor = np.float32(height) / np.float32(rows)
    centre = np.arange(rows, dtype=np.float32) + half
    source = np.clip(centre * factor - half, np.float32(0), np.float32(height - 1))
    floor = np.floor(source)
    low = floor.astype(np.int64)
    share = (source - floor)[None, :, None]
    below = wide_khw[:, low]
    above = wide_khw[:, np.minimum(low + 1, height - 1)]
    mixed: NDArray[np.float32] = below + (above - below) * share
    return mixed
