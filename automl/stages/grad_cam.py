"""Grad-CAM of a network, and its picture; the only importer of the library grad-cam.

The gradient of the class's score, averaged over the places of a layer's map, weighs its channels;
what their weighted sum has above 0 speaks for the class. Source: Selvaraju et al. 2017, "Grad-CAM";
for segmentation the score is the sum over the pixels that the network gives to the class,
Vinogradova et al. 2020, "Towards Interpretable Semantic Segmentation via Gradient-weighted Class
Activation Mapping".

Shapes: H, W of the picture; h, w of the network; K classes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import show_cam_on_image
from pytorch_grad_cam.utils.model_targets import (
    ClassifierOutputTarget,
    SemanticSegmentationTarget,
)
from torch import Tensor, nn

from automl.measurement.outlines import closed_outline

UInt8 = NDArray[np.uint8]
Floats = NDArray[np.float32]

_WHITE = 255


def heat_of(
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
    if logits.ndim == 2:
        target = ClassifierOutputTarget(label)
    else:
        own_hw = (logits[0].argmax(0) == label).numpy()
        everywhere = np.ones_like(own_hw)
        mask = own_hw if own_hw.any() else everywhere
        target = SemanticSegmentationTarget(label, mask.astype(np.float32))
    reshape = _channels_first if channels_last else None
    with GradCAM(model=network, target_layers=[layer], reshape_transform=reshape) as grad_cam:
        heat: Floats = grad_cam(input_tensor=pixels_nchw, targets=[target])[0]
    return heat


def heat_picture(photo_hwc: UInt8, heat_hw: Floats, own_hw: NDArray[np.bool_]) -> Image.Image:
    """The photo under its heat, blue to red, with a white line around the class's own pixels."""
    size = (photo_hwc.shape[1], photo_hwc.shape[0])
    heat = Image.fromarray(heat_hw).resize(size, Image.Resampling.BILINEAR)
    own = Image.fromarray(own_hw).resize(size, Image.Resampling.NEAREST)
    picture_hwc: UInt8 = show_cam_on_image(
        photo_hwc.astype(np.float32) / 255, np.clip(np.asarray(heat), 0, 1), use_rgb=True
    )
    picture_hwc[closed_outline(np.asarray(own, dtype=np.bool_))] = _WHITE
    return Image.fromarray(picture_hwc)


def _channels_first(map_nhwc: Tensor) -> Tensor:
    return map_nhwc.permute(0, 3, 1, 2)
