"""What is behind the network in a bundle's graph: logits to a mask of the photo's size.

    logits (1, K, h, w) -> [without the padding (1, K, i, j)] -> (1, K, H, W) -> mask uint8 (H, W)

The logits are never held at (K, H, W), which takes 528 MB for 11 classes on a 12 megapixel photo:
they are widened to (K, i, W), and a `Scan` then makes the mask `STRIP_ROWS` rows at a time.
Bilinear resizing is separable, so that this equals one resize to (H, W).

Shapes: H, W of the photo; h, w of the network; i, j of the photo in it; K classes; s rows of a
strip; n strips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from onnx import GraphProto, TensorProto, helper

from automl.bundle.graph import IMAGE, MASK, OWN_PREFIX, Graph
from automl.bundle.wrap_image import BOX

#: Rows of the mask that are made at a time; 16 rows of 4000 pixels of 11 classes are 2.8 MB.
STRIP_ROWS = 16


class View(Protocol):
    """The part of the logits that shows the photo, and how many rows it has."""

    def shown(self, graph: Graph, logits: str) -> tuple[str, str]:
        """That part, and the list (1, K, i) of its extents."""

    def last(self, graph: Graph) -> str:
        """The last row's number, int64."""

    def height(self, graph: Graph) -> str:
        """The rows, float32."""

    def end(self, graph: Graph) -> str:
        """The last row's number, float32."""


@dataclass(frozen=True, slots=True)
class WholeView:
    """All of the logits show the photo."""

    rows: int
    num_classes: int

    def shown(self, graph: Graph, logits: str) -> tuple[str, str]:
        """As in `View`."""
        shape = np.array([1, self.num_classes, self.rows], np.int64)
        return logits, graph.constant("wide_shape", shape)

    def last(self, graph: Graph) -> str:
        """As in `View`."""
        return graph.number("last", self.rows - 1, np.int64)

    def height(self, graph: Graph) -> str:
        """As in `View`."""
        return graph.number("height", self.rows, np.float32)

    def end(self, graph: Graph) -> str:
        """As in `View`."""
        return graph.number("end", self.rows - 1, np.float32)


@dataclass(frozen=True, slots=True)
class BoxView:
    """The photo is in the box of a letterbox, whose extent depends on the photo."""

    def shown(self, graph: Graph, logits: str) -> tuple[str, str]:
        """As in `View`."""
        axes = graph.constant("box_axes", np.array([2, 3], np.int64))
        inner = graph.node("Slice", [logits, BOX.start, BOX.end, axes], "inner_logits")
        return inner, graph.node("Shape", [inner], "inner_extents", start=0, end=3)

    def last(self, graph: Graph) -> str:
        """As in `View`."""
        first = graph.number("box_rows", 0, np.int64)
        rows = graph.node("Gather", [BOX.extent, first], "inner_rows")
        return graph.node("Sub", [rows, graph.number("box_one", 1, np.int64)], "inner_last")

    def height(self, graph: Graph) -> str:
        """As in `View`."""
        return graph.node("Cast", [OWN_PREFIX + "inner_rows"], "inner_height", to=TensorProto.FLOAT)

    def end(self, graph: Graph) -> str:
        """As in `View`."""
        return graph.node("Cast", [OWN_PREFIX + "inner_last"], "inner_end", to=TensorProto.FLOAT)


def add_postprocessing(graph: Graph, logits: str, size: tuple[int, int], view: View) -> None:
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
        else_branch=_other_size(logits, shape, view),
    )


def _same_size(logits: str) -> GraphProto:
    graph = Graph()
    mask = _add_argmax(graph, logits, "same_")
    return graph.branch("same_size", mask, ["height", "width"])


def _other_size(logits: str, shape: str, view: View) -> GraphProto:
    """Bilinear, half-pixel centres: row y of H reads at (y + 0.5) * i / H - 0.5, kept in range."""
    graph = Graph()
    zero, one = (graph.axis(f"axis_{number}", number) for number in (0, 1))
    rows = graph.node("Slice", [shape, zero, one], "rows")
    columns = graph.node("Slice", [shape, one, graph.axis("two", 2)], "columns")
    shown, extents = view.shown(graph, logits)
    wide_shape = graph.node("Concat", [extents, columns], "logits_shape", axis=0)
    wide = graph.node(
        "Resize",
        [shown, "", "", wide_shape],
        "wide",
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    low, high, share = _add_row_positions(graph, rows, view)
    strips = OWN_PREFIX + "strips"
    body = _strip(wide)
    graph.add(
        helper.make_node(
            "Scan", [low, high, share], [strips], name=strips, body=body, num_scan_inputs=3
        )
    )
    flat_shape = graph.node("Concat", [graph.axis("rest", -1), columns], "flat_shape", axis=0)
    flat = graph.node("Reshape", [strips, flat_shape], "flat")
    mask = graph.node("Slice", [flat, zero, rows], "other_mask")
    return graph.branch("other_size", mask, ["height", "width"])


def _add_row_positions(graph: Graph, rows: str, view: View) -> tuple[str, str, str]:
    """For each row of the photo: the two rows of the network (n, s), and the second's (n, s, 1)."""
    number = graph.number
    strip = number("strip", STRIP_ROWS, np.int64)
    last = view.last(graph)
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
    factor = graph.node("Div", [view.height(graph), photo], "row_factor")
    source = graph.node("Mul", [centre, factor], "row_scaled")
    source = graph.node("Sub", [source, half], "row_shifted")
    first, end = number("first", 0, np.float32), view.end(graph)
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
    graph = Graph()
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
    return graph.branch("strip", mask, [STRIP_ROWS, "width"], inputs)


def _add_argmax(graph: Graph, logits: str, prefix: str) -> str:
    """(1, K, rows, columns) -> uint8 (rows, columns); the first of equal classes wins."""
    labels = graph.node("ArgMax", [logits], prefix + "labels", axis=1, keepdims=0)
    bytes_ = graph.node("Cast", [labels], prefix + "bytes", to=TensorProto.UINT8)
    axis = graph.axis(prefix + "axis", 0)
    return graph.node("Squeeze", [bytes_, axis], prefix + "mask")
