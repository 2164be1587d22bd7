"""Nodes and constants around a network, in the making. Needs onnx, not torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

#: Names of the wrapped graph's input and output.
IMAGE = "image"
MASK = "mask"

#: Names of what is around the network, and of what is the network's own, begin so.
OWN_PREFIX = "automl/"
CORE_PREFIX = "core/"


@dataclass
class Graph:
    """Nodes and constants in the order in which they were added."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Append a constant; its name in our own namespace is returned."""
        self.constants.append(numpy_helper.from_array(np.asarray(value), OWN_PREFIX + name))
        return OWN_PREFIX + name

    def number(self, name: str, value: float | int, kind: type[np.generic]) -> str:
        """Append a constant of rank 0."""
        return self.constant(name, np.array(value, kind))

    def axis(self, name: str, value: int) -> str:
        """Append a constant that holds one whole number, as a list."""
        return self.constant(name, np.array([value], np.int64))

    def node(
        self, kind: str, inputs: Sequence[str], output: str, **attributes: int | str | list[int]
    ) -> str:
        """Append one operator; its output is named in our own namespace, and returned."""
        name = output if output in (IMAGE, MASK) else OWN_PREFIX + output
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def add(self, node: NodeProto) -> None:
        """Append an operator whose outputs have names already."""
        self.nodes.append(node)

    def branch(
        self,
        name: str,
        output: str,
        shape: list[int | str],
        inputs: Sequence[onnx.ValueInfoProto] = (),
    ) -> GraphProto:
        """All of it as a graph of its own that gives uint8 of a shape."""
        result = helper.make_tensor_value_info(output, TensorProto.UINT8, shape)
        return helper.make_graph(self.nodes, name, inputs, [result], self.constants)
