"""Where a trained network looks for a class: Grad-CAM on a trial's checkpoint, as a picture.

The gradient of the class's score, averaged over the places of a layer's map, weighs its channels;
what their weighted sum has above 0 speaks for the class. Sources: Selvaraju et al. 2017, "Grad-CAM";
for segmentation the score is the sum over the pixels that the network gives to the class,
Vinogradova et al. 2020, "Towards Interpretable Semantic Segmentation via Gradient-weighted Class
Activation Mapping". The library grad-cam computes it (`pip install automl[explain]`).

Shapes: H, W of the picture; h, w of the network; K classes.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from automl.bundle.masks import png_bytes
from automl.data.decode import read_image, resize_image
from automl.errors import UsageError
from automl.jobs.network import restore_network
from automl.measurement.outlines import closed_outline
from automl.models.build import SegmentationNet, normalisation_for
from automl.records import DatasetInfo
from automl.space.limits import nearest
from automl.space.parameters import TrialParameters, parameters_from
from automl.stages.trial_record import best_trial, trial_record
from automl.store.atomic import write_bytes
from automl.store.layout import StudyFolder
from automl.training.checkpoint import load_checkpoint
from automl.training.evaluation import normalise

UInt8 = NDArray[np.uint8]
Floats = NDArray[np.float32]
Layer = Literal["encoder", "decoder"]
LAYERS: tuple[Layer, ...] = ("encoder", "decoder")

_LIBRARY = "pytorch_grad_cam"
_WHITE = 255


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
    pixels = _pixels(photo_hwc, params, info)
    layer, channels_last = _layer(network, pixels, request.layer)
    heat_hw = heat_of(library, network, layer, pixels, label, channels_last=channels_last)
    with torch.inference_mode():
        own_hw = (network(pixels)[0].argmax(0) == label).numpy()
    write_bytes(request.out, png_bytes(heat_picture(photo_hwc, heat_hw, own_hw)))
    heat, share = float(heat_hw.sum()), float(own_hw.mean())
    focus = float(heat_hw[own_hw].sum()) / heat if share and heat else None
    return Explanation(trial_id=config.trial_id, epoch=checkpoint.epoch, share=share, focus=focus)


def heat_of(
    library: ModuleType,
    network: nn.Module,
    layer: nn.Module,
    pixels_nchw: Tensor,
    label: int,
    *,
    channels_last: bool = False,
) -> Floats:
    """Grad-CAM of one image for a class: (h, w), from 0 to 1.

    Of a network with logits (1, K, h, w) the class's score is its sum over the pixels that are
    given to the class, or over all where none is; of one with logits (1, K) its logit.
    """
    with torch.inference_mode():
        logits = network(pixels_nchw)
    targets = importlib.import_module(f"{_LIBRARY}.utils.model_targets")
    if logits.ndim == 2:
        target: Any = targets.ClassifierOutputTarget(label)
    else:
        own_hw = (logits[0].argmax(0) == label).numpy()
        everywhere = np.ones_like(own_hw)
        mask = own_hw if own_hw.any() else everywhere
        target = targets.SemanticSegmentationTarget(label, mask.astype(np.float32))
    reshape = _channels_first if channels_last else None
    with library.GradCAM(
        model=network, target_layers=[layer], reshape_transform=reshape
    ) as grad_cam:
        heat: Floats = grad_cam(input_tensor=pixels_nchw, targets=[target])[0]
    return heat


def heat_picture(photo_hwc: UInt8, heat_hw: Floats, own_hw: NDArray[np.bool_]) -> Image.Image:
    """The photo under its heat, blue to red, with a white line around the class's own pixels."""
    size = (photo_hwc.shape[1], photo_hwc.shape[0])
    heat = Image.fromarray(heat_hw).resize(size, Image.Resampling.BILINEAR)
    own = Image.fromarray(own_hw).resize(size, Image.Resampling.NEAREST)
    painting = importlib.import_module(f"{_LIBRARY}.utils.image")
    picture_hwc: UInt8 = painting.show_cam_on_image(
        photo_hwc.astype(np.float32) / 255, np.clip(np.asarray(heat), 0, 1), use_rgb=True
    )
    picture_hwc[closed_outline(np.asarray(own, dtype=np.bool_))] = _WHITE
    return Image.fromarray(picture_hwc)


def _library() -> ModuleType:
    try:
        return importlib.import_module(_LIBRARY)
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


def _pixels(photo_hwc: UInt8, params: TrialParameters, info: DatasetInfo) -> Tensor:
    """The photo as the network was trained to see it: (1, 3, h, w)."""
    small = torch.from_numpy(resize_image(photo_hwc, info.size).copy())[None]
    return normalise(small, normalisation_for(params.model_spec(), info.normalisation))


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


def _channels_first(map_nhwc: Tensor) -> Tensor:
    return map_nhwc.permute(0, 3, 1, 2)
