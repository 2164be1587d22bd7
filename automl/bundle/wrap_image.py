"""What is before the network in a bundle's graph: a photo of any size to normalised pixels.

    image uint8 (H, W, 3) -> resized -> [padded] -> (pixel - mean) / std -> float32 (1, 3, h, w)

Shapes: H, W of the photo; h, w of the network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper

from automl.bundle.graph import IMAGE, OWN_PREFIX, Graph
from automl.records import Normalisation

#: The node that ends the preprocessing: its output is the network's input.
NORMALISE = OWN_PREFIX + "normalise"


@dataclass(frozen=True, slots=True)
class BoxNames:
    """Where the photo lies in a letterbox: three pairs (row, column) of int64.

    `start` is its first row and column, `end` is behind the last ones, `extent` is its size.
    """

    extent: str
    start: str
    end: str


#: The box of a letterbox is always called so; the graph of what is stretched has none.
BOX = BoxNames(OWN_PREFIX + "box_extent", OWN_PREFIX + "box_start", OWN_PREFIX + "box_end")


def add_stretched(graph: Graph, size: tuple[int, int]) -> str:
    """The photo resized to the network's size, whatever the ratio of its sides: (1, 3, h, w)."""
    batch = _planes(graph)
    return _resized(
        graph, batch, graph.constant("network_shape", np.array([1, 3, *size], np.int64))
    )


def add_letterboxed(graph: Graph, size: tuple[int, int], padding: tuple[int, int, int]) -> str:
    """The photo resized until it fits, with `padding` (RGB) around it: uint8 (1, 3, h, w)."""
    _add_box(graph, size)
    batch = _planes(graph)
    channels = graph.constant("one_rgb", np.array([1, 3], np.int64))
    inner = _resized(
        graph, batch, graph.node("Concat", [channels, BOX.extent], "inner_shape", axis=0)
    )
    behind = graph.node(
        "Sub", [graph.constant("sides", np.array(size, np.int64)), BOX.end], "behind"
    )
    pads = graph.node("Concat", [BOX.start, behind], "pads", axis=0)
    axes = graph.constant("pixel_axes", np.array([2, 3], np.int64))
    names = [OWN_PREFIX + colour for colour in ("red", "green", "blue")]
    graph.add(
        helper.make_node("Split", [inner], names, name=OWN_PREFIX + "split", axis=1, num_outputs=3)
    )
    padded = [
        graph.node(
            "Pad",
            [name, pads, graph.number(f"padding_{place}", value, np.uint8), axes],
            f"padded_{place}",
        )
        for place, (name, value) in enumerate(zip(names, padding, strict=True))
    ]
    joined = graph.node("Concat", padded, "joined", axis=1)
    # A shape that is known beforehand: runtimes optimise the network behind it as they would alone.
    shape = graph.constant("network_shape", np.array([1, 3, *size], np.int64))
    return graph.node("Reshape", [joined, shape], "letterboxed")


def add_normalisation(graph: Graph, pixels: str, output: str, normalisation: Normalisation) -> None:
    """`pixels` uint8 (1, 3, h, w) -> `output` float32, normalised."""
    pixels = graph.node("Cast", [pixels], "pixels", to=TensorProto.FLOAT)
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


def _planes(graph: Graph) -> str:
    planes = graph.node("Transpose", [IMAGE], "planes", perm=[2, 0, 1])
    return graph.node("Unsqueeze", [planes, graph.axis("batch_axis", 0)], "batch")


def _resized(graph: Graph, batch: str, shape: str) -> str:
    return graph.node(
        "Resize",
        [batch, "", "", shape],
        "resized",
        mode="linear",
        coordinate_transformation_mode="half_pixel",
        antialias=1,
        exclude_outside=1,
    )


def _add_box(graph: Graph, size: tuple[int, int]) -> None:
    """The names of `BOX`, by the formula of `data.letterbox` in whole numbers."""
    own = graph.node("Shape", [IMAGE], "box_photo", start=0, end=2)
    other = graph.node(
        "Gather", [own, graph.constant("box_swapped", np.array([1, 0]))], "box_other"
    )
    two = graph.axis("box_two", 2)
    side = graph.constant("box_side", np.array(size, np.int64))
    doubled = graph.constant("box_doubled", 2 * np.array(size[::-1], np.int64))
    above = graph.node("Add", [graph.node("Mul", [own, doubled], "box_scaled"), other], "box_above")
    rounded = graph.node(
        "Div", [above, graph.node("Mul", [other, two], "box_below")], "box_rounded"
    )
    least = graph.node("Max", [rounded, graph.axis("box_least", 1)], "box_at_least")
    extent = graph.node("Min", [least, side], BOX.extent.removeprefix(OWN_PREFIX))
    free = graph.node("Sub", [side, extent], "box_free")
    start = graph.node("Div", [free, two], BOX.start.removeprefix(OWN_PREFIX))
    graph.node("Add", [start, extent], BOX.end.removeprefix(OWN_PREFIX))
