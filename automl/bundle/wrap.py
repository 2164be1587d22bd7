"""Put everything that serving needs around a network, inside one ONNX graph.

    image uint8 (H, W, 3), any H and W
      -> resize to (h, w) -> (pixel - mean) / std -> core -> logits (1, K, h, w)
      -> logits resized to (H, W) -> argmax -> mask uint8 (H, W)

The resize is done on uint8 with antialiasing, `exclude_outside` set: this is the arithmetic of
Pillow's BILINEAR resize (which the import of datasets uses), within one grey level. Both resizes
cost nothing at the network's own size: ONNX Runtime copies for the first, `If` skips the second.

At other sizes the logits are never held at (K, H, W), which takes 528 MB for 11 classes on a 12
megapixel photo: they are widened to (K, h, W), and a `Scan` then makes the mask `STRIP_ROWS` rows
at a time. Bilinear resizing is separable, so that this equals one resize to (H, W).

Shapes: H, W of the photo; h, w of the network; K classes; s rows of a strip; n strips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper

from automl.errors import TrialError
from automl.records import Normalisation
from automl.store import atomic

#: Names of the wrapped graph's input and output.
IMAGE = "image"
MASK = "mask"

#: `Resize` antialiases from this version of the operator set on.
MIN_OPSET = 18

#: Rows of the mask that are made at a time; 16 rows of 4000 pixels of 11 classes are 2.8 MB.
STRIP_ROWS = 16

#: Largest number of classes: labels are uint8 and 255 is the ignored label.
MAX_CLASSES = 255

#: Names of what is around the network, and of what is the network's own, begin so.
OWN_PREFIX = "automl/"
CORE_PREFIX = "core/"

#: The node that ends the preprocessing: its output is the network's input.
NORMALISE = OWN_PREFIX + "normalise"


@dataclass
class _Graph:
    """Nodes and constants in the making."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), OWN_PREFIX + name))
        return OWN_PREFIX + name

    def node(
        self, kind: str, inputs: Sequence[str], output: str, **attributes: int | str | list[int]
    ) -> str:
        """Append one operator; its output is named in our own namespace, and returned."""
        name = output if output in (IMAGE, MASK) else OWN_PREFIX + output
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def add(self, node: NodeProto) -> None:
        self.nodes.append(node)


def wrap_network(
    core: Path,
    destination: Path,
    *,
    normalisation: Normalisation,
    size: tuple[int, int],
    num_classes: int,
) -> None:
    """Write `core` with pre- and post-processing around it to `destination` (same in, same bytes).

    `core` maps normalised float32 (1, 3, h, w) to logits (1, K, h, w) with `size` = (h, w); float
    and quantized networks are wrapped alike. The result maps uint8 `image` (H, W, 3) of any size
    to uint8 `mask` (H, W). Raises TrialError for a core of another shape or of an old operator set.
    """
    model = onnx.load(core)
    _check_core(model, size, num_classes)
    model = compose.add_prefix(model, CORE_PREFIX)
    source, logits = model.graph.input[0].name, model.graph.output[0].name
    before, after = _Graph(), _Graph()
    _add_preprocessing(before, source, normalisation, size)
    _add_postprocessing(after, logits, size, num_classes)
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


def _add_preprocessing(
    graph: _Graph, output: str, normalisation: Normalisation, size: tuple[int, int]
) -> None:
    """`image` uint8 (H, W, 3) -> `output` float32 (1, 3, h, w), normalised."""
    planes = graph.node("Transpose", [IMAGE], "planes", perm=[2, 0, 1])
    batch = graph.node("Unsqueeze", [planes, _axis(graph, "batch_axis", 0)], "batch")
    target = graph.constant("network_shape", np.array([1, 3, *size], np.int64))
    resized = graph.node(
        "Resize",
        [batch, "", "", target],
        "resized",
        mode="linear",
        coordinate_transformation_mode="half_pixel",
        antialias=1,
        exclude_outside=1,
    )
    pixels = graph.node("Cast", [resized], "pixels", to=TensorProto.FLOAT)
    mean = np.array(normalisation.mean, np.float32)
    variance = np.square(np.array(normalisation.std)).astype(np.float32)
    statistics = [
        graph.constant("gain", np.ones(3, np.float32)),
        graph.constant("bias", np.zeros(3, np.float32)),
        graph.constant("mean", mean),
        graph.constant("variance", variance),
    ]
    graph.add(
        helper.make_node(
            "BatchNormalization",
            [pixels, *statistics],
            [output],
            name=NORMALISE,
            epsilon=0.0,
        )
    )


def _add_postprocessing(
    graph: _Graph, logits: str, size: tuple[int, int], num_classes: int
) -> None:
    """`logits` float32 (1, K, h, w) -> `mask` uint8 (H, W)."""
    shape = graph.node("Shape", [IMAGE], "size", start=0, end=2)
    known = graph.constant("network_size", np.array(size, np.int64))
    equal = graph.node("Equal", [shape, known], "equal")
    numbers = graph.node("Cast", [equal], "equal_numbers", to=TensorProto.INT32)
    both = graph.node("ReduceMin", [numbers], "both_equal", keepdims=0)
    condition = graph.node("Cast", [both], "same_size", to=TensorProto.BOOL)
    graph.node(
        "If",
        [condition],
        MASK,
        then_branch=_same_size(logits),
        else_branch=_other_size(logits, shape, size, num_classes),
    )


def _same_size(logits: str) -> GraphProto:
    graph = _Graph()
    mask = _add_argmax(graph, logits, "same_")
    return _branch(graph, "same_size", mask, ["height", "width"])


def _other_size(logits: str, shape: str, size: tuple[int, int], num_classes: int) -> GraphProto:
    """Bilinear, half-pixel centres: row y of H reads at (y + 0.5) * h / H - 0.5, kept in range."""
    graph = _Graph()
    zero, one = (_axis(graph, f"axis_{number}", number) for number in (0, 1))
    rows = graph.node("Slice", [shape, zero, one], "rows")
    columns = graph.node("Slice", [shape, one, _axis(graph, "two", 2)], "columns")
    fixed = graph.constant("wide_shape", np.array([1, num_classes, size[0]], np.int64))
    wide_shape = graph.node("Concat", [fixed, columns], "logits_shape", axis=0)
    wide = graph.node(
        "Resize",
        [logits, "", "", wide_shape],
        "wide",
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    low, high, share = _add_row_positions(graph, rows, size[0])
    strips = OWN_PREFIX + "strips"
    body = _strip(wide)
    graph.add(
        helper.make_node(
            "Scan", [low, high, share], [strips], name=strips, body=body, num_scan_inputs=3
        )
    )
    flat_shape = graph.node("Concat", [_axis(graph, "rest", -1), columns], "flat_shape", axis=0)
    flat = graph.node("Reshape", [strips, flat_shape], "flat")
    mask = graph.node("Slice", [flat, zero, rows], "other_mask")
    return _branch(graph, "other_size", mask, ["height", "width"])


def _add_row_positions(graph: _Graph, rows: str, height: int) -> tuple[str, str, str]:
    """For each row of the photo: the two rows of the network (n, s), and the second's (n, s, 1)."""

    def number(name: str, value: float | int, kind: type[np.generic]) -> str:
        return graph.constant(name, np.array(value, kind))

    strip = number("strip", STRIP_ROWS, np.int64)
    last = number("last", height - 1, np.int64)
    none, single = number("none", 0, np.int64), number("single", 1, np.int64)
    half = number("half", 0.5, np.float32)
    count = graph.node("Squeeze", [rows], "row_count")
    more = graph.node("Add", [count, number("strip_less_one", STRIP_ROWS - 1, np.int64)], "more")
    num_strips = graph.node("Div", [more, strip], "num_strips")
    padded = graph.node("Mul", [num_strips, strip], "padded_rows")
    index = graph.node("Range", [none, padded, single], "row_index")
    index = graph.node("Cast", [index], "row_number", to=TensorProto.FLOAT)
    centre = graph.node("Add", [index, half], "row_centre")
    photo = graph.node("Cast", [count], "photo_height", to=TensorProto.FLOAT)
    factor = graph.node("Div", [number("height", height, np.float32), photo], "row_factor")
    source = graph.node("Mul", [centre, factor], "row_scaled")
    source = graph.node("Sub", [source, half], "row_shifted")
    first, end = number("first", 0, np.float32), number("end", height - 1, np.float32)
    source = graph.node("Clip", [source, first, end], "row_source")
    floor = graph.node("Floor", [source], "row_floor")
    low = graph.node("Cast", [floor], "row_low", to=TensorProto.INT64)
    next_row = graph.node("Add", [low, single], "row_next")
    high = graph.node("Min", [next_row, last], "row_high")
    share = graph.node("Sub", [source, floor], "row_share")
    pairs = graph.constant("by_strip", np.array([-1, STRIP_ROWS], np.int64))
    columns = graph.constant("by_strip_1", np.array([-1, STRIP_ROWS, 1], np.int64))
    return (
        graph.node("Reshape", [low, pairs], "strip_low"),
        graph.node("Reshape", [high, pairs], "strip_high"),
        graph.node("Reshape", [share, columns], "strip_share"),
    )


def _strip(wide: str) -> GraphProto:
    """One strip: rows `low` and `high` (s) and the share of the latter (s, 1) -> mask (s, W)."""
    graph = _Graph()
    low, high, share = (OWN_PREFIX + name for name in ("in_low", "in_high", "in_share"))
    below = graph.node("Gather", [wide, low], "below", axis=2)
    above = graph.node("Gather", [wide, high], "above", axis=2)
    step = graph.node("Sub", [above, below], "step")
    part = graph.node("Mul", [step, share], "part")
    mixed = graph.node("Add", [below, part], "mixed")
    mask = _add_argmax(graph, mixed, "strip_")
    inputs = [
        helper.make_tensor_value_info(low, TensorProto.INT64, [STRIP_ROWS]),
        helper.make_tensor_value_info(high, TensorProto.INT64, [STRIP_ROWS]),
        helper.make_tensor_value_info(share, TensorProto.FLOAT, [STRIP_ROWS, 1]),
    ]
    return _branch(graph, "strip", mask, [STRIP_ROWS, "width"], inputs)


def _add_argmax(graph: _Graph, logits: str, prefix: str) -> str:
    """(1, K, rows, columns) -> uint8 (rows, columns); the first of equal classes wins."""
    labels = graph.node("ArgMax", [logits], prefix + "labels", axis=1, keepdims=0)
    bytes_ = graph.node("Cast", [labels], prefix + "bytes", to=TensorProto.UINT8)
    axis = _axis(graph, prefix + "axis", 0)
    return graph.node("Squeeze", [bytes_, axis], prefix + "mask")


def _axis(graph: _Graph, name: str, value: int) -> str:
    return graph.constant(name, np.array([value], np.int64))


def _branch(
    graph: _Graph,
    name: str,
    output: str,
    shape: list[int | str],
    inputs: Sequence[onnx.ValueInfoProto] = (),
) -> GraphProto:
    result = helper.make_tensor_value_info(output, TensorProto.UINT8, shape)
    return helper.make_graph(graph.nodes, name, inputs, [result], graph.constants)
