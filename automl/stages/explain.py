"""Where a trained network looks for a class: Grad-CAM on a trial's checkpoint, as a picture.

The library grad-cam computes it: `pip install automl[explain]`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from automl.bundle.masks import png_bytes
from automl.data.decode import read_image
from automl.data.letterbox import Frame
from automl.errors import UsageError
from automl.jobs.beginning import beginning_of
from automl.jobs.network import restore_network
from automl.models.build import SegmentationNet
from automl.records import DatasetInfo, Normalisation
from automl.space.limits import nearest
from automl.space.parameters import parameters_from
from automl.stages.trial_record import best_trial, trial_record
from automl.store.atomic import write_bytes
from automl.store.layout import StudyFolder
from automl.training.checkpoint import load_checkpoint
from automl.training.evaluation import normalise

UInt8 = NDArray[np.uint8]
Layer = Literal["encoder", "decoder"]
LAYERS: tuple[Layer, ...] = ("encoder", "decoder")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplanationRequest:
    """What to explain: a class on an image, by the checkpoint of a study's trial.

    `layer` is whose map is weighed: the encoder's coarsest, or the decoder's last.
    """

    study: Path
    trial: str
    image: Path
    class_name: str
    out: Path
    layer: Layer = "encoder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What was explained; `share` is that of the pixels which the network gives to the class.

    `focus` is the share of the heat that lies on these pixels; None where there are none, and the
    class's score on all pixels was explained.
    """

    trial_id: str
    epoch: int
    share: float
    focus: float | None


def explain(request: ExplanationRequest) -> Explanation:
    """Write the picture with the heat of a class laid over it.

    Raises UsageError for a study, trial or class that is not there, a trial without a checkpoint,
    and where the library is not installed.
    """
    library = _library()
    if request.out.suffix.lower() != ".png":
        raise UsageError(f"--out: the name must end in .png, got {request.out}")
    folder = StudyFolder(request.study)
    named = best_trial(folder) if request.trial == "best" else request.trial
    config = trial_record(folder, named).config
    info = folder.dataset()
    label = _label(request.class_name, info)
    checkpoint = load_checkpoint(folder.trial(config.trial_id) / "checkpoint", torch.device("cpu"))
    if checkpoint is None:
        raise UsageError(f"{request.study}: trial {config.trial_id} has no checkpoint left")
    params = parameters_from(config.params)
    network = restore_network(params, info, checkpoint.model_state).eval()
    photo_hwc = read_image(request.image)
    pixels = _pixels(photo_hwc, beginning_of(folder).normalisation(params, info), info)
    layer, channels_last = _layer(network, pixels, request.layer)
    heat_hw = library.heat_of(network, layer, pixels, label, channels_last=channels_last)
    with torch.inference_mode():
        own_hw = (network(pixels)[0].argmax(0) == label).numpy()
    # What lies beside the photo is no part of the picture, nor of its numbers.
    box = Frame(info.size, info.resize).box((photo_hwc.shape[0], photo_hwc.shape[1]))
    heat_hw, own_hw = box.of(heat_hw), box.of(own_hw)
    write_bytes(request.out, png_bytes(library.heat_picture(photo_hwc, heat_hw, own_hw)))
    heat, share = float(heat_hw.sum()), float(own_hw.mean())
    focus = float(heat_hw[own_hw].sum()) / heat if share and heat else None
    return Explanation(trial_id=config.trial_id, epoch=checkpoint.epoch, share=share, focus=focus)


def _library() -> ModuleType:
    """`grad_cam`, which is only loaded where its library is installed."""
    try:
        return importlib.import_module("automl.stages.grad_cam")
    except ImportError as error:
        raise UsageError(
            "explaining needs the library grad-cam: pip install 'automl[explain]'"
        ) from error


def _label(name: str, info: DatasetInfo) -> int:
    if name not in info.classes:
        near = nearest(name, info.classes)
        hint = "" if near is None else f"; the nearest is {near}"
        raise UsageError(f"--class: given {name!r}; allowed: {', '.join(info.classes)}{hint}")
    return info.classes.index(name)


def _pixels(photo_hwc: UInt8, normalisation: Normalisation, info: DatasetInfo) -> Tensor:
    """The photo as the network was trained to see it: (1, 3, h, w)."""
    fitted = Frame(info.size, info.resize).image(photo_hwc)
    small = torch.from_numpy(fitted.copy())[None]
    return normalise(small, normalisation)


def _layer(network: SegmentationNet, pixels: Tensor, layer: Layer) -> tuple[nn.Module, bool]:
    """The module whose map is weighed, and whether its channels come last."""
    if layer == "decoder":
        return network.decoder, False
    encoder = network.encoder
    inner, channels_last = encoder.get_submodule("model"), bool(encoder.channels_last)
    return _maker_of_last(inner, pixels), channels_last


def _maker_of_last(encoder: nn.Module, pixels: Tensor) -> nn.Module:
    """The module within an encoder that makes its coarsest map."""
    made: list[tuple[nn.Module, object]] = []

    def note(module: nn.Module, _inputs: object, output: object) -> None:
        made.append((module, output))

    hooks = [module.register_forward_hook(note) for module in encoder.modules()]
    try:
        with torch.inference_mode():
            *_, last = encoder(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    makers = [module for module, output in made if output is last]
    if not makers:
        raise UsageError("--layer: the encoder's last map is made by no module; use decoder")
    return makers[-1]
