"""A bundle's graph for several images at once, at the network's own size.

    images uint8 (N, h, w, 3) -> normalise -> core -> logits (N, K, h, w) -> masks uint8 (N, h, w)

The file of a bundle takes one image of any size and stays as it is. This form is made of the same
nodes, to measure larger batches, and runtimes that cannot read the resizes around the network; at
the network's own size both compute the same. Networks are exported for a batch of 1. Most compute
larger ones as well, since convolutions do not look at that axis; those that were traced with a
constant there do not, so `check_batched` compares. Needs onnx, not torch.

Shapes: N images; h, w of the network; K classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from automl.bundle.graph import MASK
from automl.bundle.loading import load_sound
from automl.bundle.runtime import open_bytes
from automl.bundle.wrap_image import NORMALISE
from automl.errors import BundleError, UsageError
from automl.store import atomic

#: Names of the graph's input and output.
IMAGES = "images"
MASKS = "masks"

#: Share of the pixels that must be those of the bundle's own file.
MIN_AGREEMENT = 0.999

#: Largest mean difference of logits, as a share of the largest logit.
MAX_DIFFERENCE = 0.01

#: A number of images, or this for any number.
ANY: Literal["N"] = "N"
Batch = int | Literal["N"]

#: The numbers of images on which a form for any number is checked.
_CHECKED_COUNTS = (1, 2, 5)

_SINGLE = "its network was made for 1 image at a time"
_OURS = "automl/"
_NOTHING = 4
_PIXELS = "batched/pixels"


def batched(wrapped: bytes, *, size: tuple[int, int], batch: Batch) -> bytes:
    """The content of a bundle's file `wrapped` for `batch` images of `size` = (h, w) at once.

    With `ANY` the file takes any number of images. Raises BundleError for a graph that
    `wrap_network` did not make, or a batch below 1.
    """
    return _content(_rebuilt(wrapped, size, batch)[0])


def check_batched(
    wrapped: bytes, images_nhwc: NDArray[np.uint8], *, form: Batch | None = None
) -> None:
    """Raise BundleError unless `batched` gives of each image what the bundle's own file gives.

    `form` is the batch of the form that is checked; without it that for N images.
    `images_nhwc` are N different images of the network's own size. Of the masks nearly all pixels
    must be equal, and of the logits the mean difference small: a mask may be of one class only.
    """
    batch, *size, _ = images_nhwc.shape
    single = _with_logits(wrapped, (size[0], size[1]), 1)
    together = _with_logits(wrapped, (size[0], size[1]), batch if form is None else form)
    apart = [_run(single, image[None]) for image in images_nhwc]
    try:
        masks_nhw, logits_nkhw = _run(together, images_nhwc)
    except Exception as error:  # ONNX Runtime's exceptions share no narrower base
        raise BundleError(f"{_SINGLE} and does not run on {batch} at once") from error
    own_nhw = np.stack([_run(wrapped, image)[0] for image in images_nhwc])
    expected_nkhw = np.concatenate([logits for _, logits in apart])
    if masks_nhw.shape != own_nhw.shape or logits_nkhw.shape != expected_nkhw.shape:
        raise BundleError(f"{_SINGLE}: of {batch} it gives masks of shape {masks_nhw.shape}")
    agreement = float((masks_nhw == own_nhw).mean())
    difference = float(np.abs(logits_nkhw - expected_nkhw).mean() / np.abs(expected_nkhw).max())
    if not (agreement >= MIN_AGREEMENT and difference <= MAX_DIFFERENCE):
        raise BundleError(
            f"{_SINGLE} and computes something else of {batch} at once: {agreement:.2%} of the "
            f"pixels are equal (at least {MIN_AGREEMENT:.1%} are needed), logits differ by "
            f"{difference:.2%} of the largest (at most {MAX_DIFFERENCE:.0%})"
        )


def write_batched(bundle: Path, out: Path, *, batch: Batch) -> tuple[int, int]:
    """Write the form of a bundle for `batch` images; the (height, width) that it works at.

    Raises BundleError for a damaged bundle, and where the form does not compute what the bundle
    does: on `batch` images, or with `ANY` on 1, 2 and 5.
    """
    if out.suffix.lower() != ".onnx":
        raise UsageError(f"--out: the name must end in .onnx, got {out}")
    sound = load_sound(bundle)
    wrapped, size = sound.model(), sound.manifest.input.size
    for count in _CHECKED_COUNTS if batch == ANY else (batch,):
        check_batched(wrapped, different_images((count, *size, 3)), form=batch)
    atomic.write_bytes(out, batched(wrapped, size=size, batch=batch))
    return size


def different_images(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Images to check with, always the same for a shape, no two alike."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def core_logits(model: ModelProto) -> str:
    """The name of the logits of the network in a bundle's graph; BundleError for another graph."""
    return _ends_of_core(model)[1]


def _rebuilt(wrapped: bytes, size: tuple[int, int], batch: Batch) -> tuple[ModelProto, str]:
    """The model of `batched`, and the name of the logits in it."""
    if batch != ANY and batch < 1:
        raise BundleError(f"batch must be at least 1, got {batch}")
    model = onnx.load_from_string(wrapped)
    normalise, logits = _ends_of_core(model)
    core = [node for node in model.graph.node if _is_core(node)]
    graph = helper.make_graph(
        [*_before(normalise), *core, *_after(logits)],
        "automl-batched",
        [helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, [batch, *size, 3])],
        [helper.make_tensor_value_info(MASKS, TensorProto.UINT8, [batch, *size])],
        [each for each in model.graph.initializer if _is_kept(each.name, normalise)],
    )
    result = helper.make_model(graph, opset_imports=model.opset_import, producer_name="automl")
    result.ir_version = model.ir_version
    result.functions.extend(model.functions)
    return result, logits


def _with_logits(wrapped: bytes, size: tuple[int, int], batch: Batch) -> bytes:
    """The form of `batched` that gives the logits as well."""
    model, logits = _rebuilt(wrapped, size, batch)
    model.graph.output.append(helper.make_tensor_value_info(logits, TensorProto.FLOAT, None))
    return _content(model)


def _content(model: ModelProto) -> bytes:
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _run(content: bytes, images: NDArray[np.uint8]) -> list[NDArray[np.generic]]:
    session = open_bytes(content, threads=1)
    silent = onnxruntime.RunOptions()
    silent.log_severity_level = _NOTHING  # a network that does not run is told by an exception
    feed = {session.get_inputs()[0].name: images}
    outputs: list[NDArray[np.generic]] = session.run(None, feed, silent)
    return outputs


def _ends_of_core(model: ModelProto) -> tuple[NodeProto, str]:
    """The node before the core, and the name of the core's logits."""
    named = {node.name: node for node in model.graph.node}
    if NORMALISE not in named or MASK not in named:
        raise BundleError("not the graph of a bundle: the nodes around its network are missing")
    branches: dict[str, GraphProto] = {each.name: each.g for each in named[MASK].attribute}
    argmax = next(node for node in branches["then_branch"].node if node.op_type == "ArgMax")
    return named[NORMALISE], argmax.input[0]


def _is_core(node: NodeProto) -> bool:
    return not node.name.startswith(_OURS) and node.name != MASK


def _is_kept(name: str, normalise: NodeProto) -> bool:
    return not name.startswith(_OURS) or name in normalise.input


def _before(normalise: NodeProto) -> list[NodeProto]:
    """`images` uint8 (N, h, w, 3) -> the core's input float32 (N, 3, h, w), normalised."""
    planes = "batched/planes"
    batch = NodeProto()
    batch.CopyFrom(normalise)
    batch.input[0] = _PIXELS
    return [
        helper.make_node("Transpose", [IMAGES], [planes], name=planes, perm=[0, 3, 1, 2]),
        helper.make_node("Cast", [planes], [_PIXELS], name=_PIXELS, to=TensorProto.FLOAT),
        batch,
    ]


def _after(logits: str) -> list[NodeProto]:
    """The core's logits float32 (N, K, h, w) -> `masks` uint8 (N, h, w)."""
    labels = "batched/labels"
    return [
        helper.make_node("ArgMax", [logits], [labels], name=labels, axis=1, keepdims=0),
        helper.make_node("Cast", [labels], [MASKS], name=MASKS, to=TensorProto.UINT8),
    ]
