"""The bare network out of a bundle's graph: what `wrap_network` was given. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, helper

from automl.bundle.graph import CORE_PREFIX, MASK, OWN_PREFIX
from automl.bundle.wrap_image import NORMALISE
from automl.errors import BundleError
from automl.store import atomic


def unwrap_network(wrapped: Path, core: Path, *, size: tuple[int, int], num_classes: int) -> None:
    """Write the network inside `wrapped` to `core`: float32 (1, 3, h, w) to (1, K, h, w).

    Raises BundleError for a graph that `wrap_network` did not make.
    """
    model = onnx.load(wrapped)
    named = {node.name: node for node in model.graph.node}
    if NORMALISE not in named or MASK not in named:
        raise BundleError(
            f"{wrapped}: not the graph of a bundle: the nodes around its network are missing"
        )
    logits = _logits(named[MASK])
    graph = helper.make_graph(
        [each for each in model.graph.node if not _is_around(each.name)],
        "core",
        [_value(named[NORMALISE].output[0], (1, 3, *size))],
        [_value(logits, (1, num_classes, *size))],
        [each for each in model.graph.initializer if not each.name.startswith(OWN_PREFIX)],
    )
    bare: ModelProto = helper.make_model(
        graph, opset_imports=model.opset_import, producer_name="automl"
    )
    bare.ir_version = model.ir_version
    bare.functions.extend(model.functions)
    _drop_prefix(bare)
    onnx.checker.check_model(bare)
    atomic.write_bytes(core, bare.SerializeToString(deterministic=True))


def _is_around(name: str) -> bool:
    return name.startswith(OWN_PREFIX) or name == MASK


def _logits(mask: onnx.NodeProto) -> str:
    branches = {each.name: each.g for each in mask.attribute}
    argmax = next(node for node in branches["then_branch"].node if node.op_type == "ArgMax")
    name: str = argmax.input[0]
    return name


def _value(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _drop_prefix(model: ModelProto) -> None:
    """Wrapping again adds it again; names of layers are those of the network's modules."""
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = value.name.removeprefix(CORE_PREFIX)
    for node in graph.node:
        node.name = node.name.removeprefix(CORE_PREFIX)
        node.input[:] = [name.removeprefix(CORE_PREFIX) for name in node.input]
        node.output[:] = [name.removeprefix(CORE_PREFIX) for name in node.output]
