"""The logits of a bundle at the size of the photo, which its own file does not give away.

    image uint8 (H, W, 3) -> as in the bundle -> core -> logits (K, h, w)
      -> [without the padding (K, i, j)] -> (K, i, W) -> (K, H, W)

A bundle's graph ends in a mask, so its nodes up to the network's logits are opened as a graph of
their own, in memory. The resize is the bundle's as well: over columns by the same node, over rows
by the same arithmetic, so that the argmax of these logits is the bundle's mask, bit by bit. All
logits are held at once, 4 * K * H * W bytes. Needs onnx and onnxruntime, not torch.

Shapes: H, W of the photo; h, w of the network; i, j of the photo in it; K classes.
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
from automl.bundle.graph import IMAGE, MASK
from automl.bundle.loading import Bundle, load_sound
from automl.bundle.runtime import open_bytes
from automl.bundle.wrap_image import BOX

_WIDE = "logits/wide"
_SHOWN = "logits/shown"
_AXES = "logits/axes"


@dataclass(frozen=True, slots=True)
class LogitsSession:
    """A bundle's network that gives logits."""

    runtime: onnxruntime.InferenceSession

    @classmethod
    def of(cls, bundle: Bundle, *, threads: int) -> Self:
        """Open the logits of a bundle; raises BundleError for a graph that is not of a bundle."""
        content = load_sound(bundle.path).model()
        return cls(open_bytes(_ending_in_logits(content), threads=threads))

    def run(self, image_hwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The logits (K, H, W) of an image (H, W, 3)."""
        wide_khw = self.runtime.run(None, {IMAGE: np.ascontiguousarray(image_hwc)})[0][0]
        return _rows_resized(wide_khw, image_hwc.shape[0])


def _ending_in_logits(wrapped: bytes) -> bytes:
    model = onnx.load_from_string(wrapped)
    logits = core_logits(model)
    graph = model.graph
    cut, shown = _cut(graph, logits)
    kept = [node for node in graph.node if node.name != MASK]
    columns = [
        helper.make_node("Shape", [IMAGE], ["logits/columns"], start=1, end=2),
        helper.make_node("Shape", [shown], ["logits/extents"], start=0, end=3),
        helper.make_node("Concat", ["logits/extents", "logits/columns"], ["logits/shape"], axis=0),
        helper.make_node(
            "Resize",
            [shown, "", "", "logits/shape"],
            [_WIDE],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        ),
    ]
    axes = numpy_helper.from_array(np.array([2, 3], np.int64), _AXES)
    ended = helper.make_graph(
        [*kept, *cut, *columns],
        "automl-logits",
        list(graph.input),
        [helper.make_tensor_value_info(_WIDE, TensorProto.FLOAT, [1, "K", "i", "W"])],
        [*graph.initializer, axes],
    )
    result = helper.make_model(ended, opset_imports=model.opset_import, producer_name="automl")
    result.ir_version = model.ir_version
    result.functions.extend(model.functions)
    content: bytes = result.SerializeToString(deterministic=True)
    return content


def _cut(graph: onnx.GraphProto, logits: str) -> tuple[list[onnx.NodeProto], str]:
    """What cuts the padding of a letterbox off, and the name of the logits without it."""
    if not any(BOX.start in node.output for node in graph.node):
        return [], logits
    cut = helper.make_node("Slice", [logits, BOX.start, BOX.end, _AXES], [_SHOWN])
    return [cut], _SHOWN


def _rows_resized(wide_khw: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    """Bilinear, half-pixel centres, in the float32 steps of the bundle's graph (`wrap_mask`)."""
    height = wide_khw.shape[1]
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
