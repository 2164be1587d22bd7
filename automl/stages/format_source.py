"""What `automl export` is given: a bundle, or trained weights; as a network and what it is fed.

A bundle holds an ONNX graph and no torch modules. Where its weights are still there (see
`starting_point`), or where weights are named themselves, the formats that start from torch can be
written as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from automl.bundle import layout
from automl.bundle.files import PACKED, sha256
from automl.bundle.loading import SoundFiles, load_sound
from automl.bundle.network import export_network
from automl.bundle.unwrap import unwrap_network
from automl.bundle.verify import MAX_GOLDEN_PIXELS
from automl.data.decode import decode_image
from automl.data.importing import cached_for_network
from automl.data.letterbox import Frame
from automl.errors import DataError, UsageError
from automl.formats.network import Network, Run, open_onnx
from automl.formats.sidecar import Origin
from automl.formats.torch_run import run_of
from automl.jobs.trained import rebuilt
from automl.records import Normalisation
from automl.resize import Resize
from automl.space.experiment import Experiment
from automl.stages.starting_point import starting_point

#: Most images of a dataset that are compared.
MAX_IMAGES = 8

_INT8_IN_TORCH = (
    "an INT8 network is in the bundle's ONNX file alone, torch has none; give the FP32 bundle"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatSource:
    """A network to convert, what it is compared by, and the images (N, h, w, 3) to compare on.

    What ships is what counts: a bundle is compared by its own network in ONNX Runtime.
    """

    network: Network
    reference: Run
    images_nhwc: NDArray[np.uint8]
    images_from: str
    classes: tuple[str, ...]
    normalisation: Normalisation
    resize: Resize
    origin: Origin


def find_format_source(given: Path, data: str | None, scratch: Path) -> FormatSource:
    """Read what is named; `scratch` is a folder for its ONNX file. Raises UsageError."""
    is_packed = given.is_file() and given.name.endswith(PACKED)
    if is_packed or (given / layout.MANIFEST).is_file():
        return _of_bundle(given, data, scratch / "core.onnx")
    return _of_weights(given, data, scratch / "core.onnx")


def _of_bundle(given: Path, data: str | None, core: Path) -> FormatSource:
    sound = load_sound(given)
    manifest = sound.manifest
    size = manifest.input.size
    wrapped = core.with_name(layout.MODEL)
    wrapped.write_bytes(sound.model())
    unwrap_network(wrapped, core, size=size, num_classes=len(manifest.classes))
    module, why = _module_of_bundle(given, manifest.precision)
    network = Network(
        core=core, module=module, why_no_module=why, size=size, precision=manifest.precision
    )
    if data is None:
        images_nhwc, images_from = _golden(sound), "golden samples of the bundle"
    else:
        split_seed = manifest.seeds.get("split", 0)
        images_nhwc, images_from = _of_dataset(
            data, manifest.input.frame, manifest.classes, split_seed
        )
    return FormatSource(
        network=network,
        reference=open_onnx(core.read_bytes()),
        images_nhwc=images_nhwc,
        images_from=images_from,
        classes=manifest.classes,
        normalisation=manifest.input.normalisation,
        resize=manifest.input.resize,
        origin=Origin(
            source=str(given),
            bundle_sha256=sha256(sound.files.read(layout.CHECKSUMS)),
            core_sha256=sha256(core.read_bytes()),
        ),
    )


def _module_of_bundle(given: Path, precision: str) -> tuple[nn.Module | None, str]:
    """The bundle's network in torch, or why there is none."""
    if precision != "fp32":
        return None, _INT8_IN_TORCH
    if given.is_file():
        return None, "a packed bundle holds no weights of torch; give its study's trial or weights"
    try:
        return rebuilt(*starting_point(given)).eval(), ""
    except UsageError as error:
        return None, str(error)


def _of_weights(given: Path, data: str | None, core: Path) -> FormatSource:
    trained, state = starting_point(given)
    module = rebuilt(trained, state).eval()
    size, resize = trained.dataset.size, trained.dataset.resize
    declared = Experiment.from_json(trained.experiment).data
    source = declared.source if data is None else data
    try:
        images_nhwc, images_from = _of_dataset(
            source, Frame(size, resize), trained.dataset.classes, declared.split_seed
        )
    except DataError as error:
        raise UsageError(f"{error}\n--data names a dataset whose images to compare on") from error
    export_network(module, size=size, path=core)
    return FormatSource(
        network=Network(core=core, module=module, why_no_module="", size=size, precision="fp32"),
        reference=run_of(module),
        images_nhwc=images_nhwc,
        images_from=images_from,
        classes=trained.dataset.classes,
        normalisation=trained.normalisation,
        resize=resize,
        origin=Origin(source=str(given), bundle_sha256=None, core_sha256=sha256(core.read_bytes())),
    )


def _golden(sound: SoundFiles) -> NDArray[np.uint8]:
    """The images of the golden samples at the network's size."""
    pairs, _ = layout.golden_pairs(set(sound.files.names()))
    images = [
        decode_image(sound.files.read(name), name, max_pixels=MAX_GOLDEN_PIXELS)
        for name, _ in pairs
    ]
    frame = sound.manifest.input.frame
    return np.stack([frame.image(image_hwc) for image_hwc in images])


def _of_dataset(
    source: str, frame: Frame, classes: Sequence[str], split_seed: int
) -> tuple[NDArray[np.uint8], str]:
    dataset = cached_for_network(source, frame, classes, split_seed=split_seed)
    rows = dataset.split("val")
    count = min(len(rows), MAX_IMAGES)
    images_nhwc = np.stack([rows.image(row) for row in range(count)])
    return images_nhwc, f"val images of {dataset.info.name}"
