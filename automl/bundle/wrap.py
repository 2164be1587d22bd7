"""Put everything that serving needs around a network, inside one ONNX graph.

    image uint8 (H, W, 3), any H and W
      -> resize to (h, w) -> (pixel - mean) / std -> core -> logits (1, K, h, w)
      -> logits resized to (H, W) -> argmax -> mask uint8 (H, W)

The resize is done on uint8 with antialiasing, `exclude_outside` set: this is the arithmetic of
Pillow's BILINEAR resize (which the import of datasets uses), within one grey level. Both resizes
cost nothing at the network's own size: ONNX Runtime copies for the first, `If` skips the second.

A letterbox keeps the ratio of the sides: the image is resized until it fits, put in the middle and
padded, and what the network makes of the padding is cut off its logits before these are resized.
The arithmetic is that of `data.letterbox`, in whole numbers, for any size.

Shapes: H, W of the photo; h, w of the network; K classes.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, compose, helper

from automl.bundle.graph import CORE_PREFIX, IMAGE, MASK, Graph
from automl.bundle.wrap_image import add_letterboxed, add_normalisation, add_stretched
from automl.bundle.wrap_mask import BoxView, View, WholeView, add_postprocessing
from automl.errors import TrialError
from automl.records import Normalisation
from automl.resize import STRETCH, Resize
from automl.store import atomic

#: `Resize` antialiases from this version of the operator set on.
MIN_OPSET = 18

#: Largest number of classes: labels are uint8 and 255 is the ignored label.
MAX_CLASSES = 255


def wrap_network(
    core: Path,
    destination: Path,
    *,
    normalisation: Normalisation,
    size: tuple[int, int],
    num_classes: int,
    resize: Resize = STRETCH,
) -> None:
    """Write `core` with pre- and post-processing around it to `destination` (same in, same bytes).

    `core` maps normalised float32 (1, 3, h, w) to logits (1, K, h, w) with `size` = (h, w); float
    and quantized networks are wrapped alike. The result maps uint8 `image` (H, W, 3) of any size
    to uint8 `mask` (H, W). `resize` is how images come to `size`. Raises TrialError for a core of
    another shape or of an old operator set, and for a letterbox whose padding has no colour.
    """
    model = onnx.load(core)
    _check_core(model, size, num_classes)
    model = compose.add_prefix(model, CORE_PREFIX)
    source, logits = model.graph.input[0].name, model.graph.output[0].name
    before, after = Graph(), Graph()
    pixels = _add_resize(before, size, resize)
    add_normalisation(before, pixels, source, normalisation)
    view: View = BoxView() if resize.is_letterbox else WholeView(size[0], num_classes)
    add_postprocessing(after, logits, size, view)
    graph = helper.make_graph(
        [*before.nodes, *model.graph.node, *after.nodes],
        "automl",
        [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["height", "width", 3])],
        [helper.make_tensor_value_info(MASK, TensorProto.UINT8, ["height", "width"])],
        [*before.constants, *model.graph.initializer, *after.constants],
        value_info=[*model.graph.value_info, *model.graph.output],
    )
    wrapped = helper.make_model(graph, opset_imports=model.opset_import, producer_name="automl")
    wrapped.ir_version = model.ir_version
    wrapped.functions.extend(model.functions)
    onnx.checker.check_model(wrapped)
    atomic.write_bytes(destination, wrapped.SerializeToString(deterministic=True))


def _add_resize(graph: Graph, size: tuple[int, int], resize: Resize) -> str:
    if not resize.is_letterbox:
        return add_stretched(graph, size)
    if resize.padding is None:
        raise TrialError("a letterbox needs the colour of its padding, got none")
    return add_letterboxed(graph, size, resize.padding)


def _check_core(model: ModelProto, size: tuple[int, int], num_classes: int) -> None:
    if not 1 <= num_classes <= MAX_CLASSES:
        raise TrialError(f"num_classes must be 1 to {MAX_CLASSES}, got {num_classes}")
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < MIN_OPSET:
        raise TrialError(f"the network needs operator set {MIN_OPSET} or later, got {opset}")
    for role, values, channels in (
        ("input", model.graph.input, 3),
        ("output", model.graph.output, num_classes),
    ):
        shapes = [_shape(value) for value in values]
        if shapes != [[1, channels, *size]]:
            raise TrialError(f"the network's {role} must be (1, {channels}, h, w), got {shapes}")


def _shape(value: onnx.ValueInfoProto) -> list[int | str]:
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dims]
