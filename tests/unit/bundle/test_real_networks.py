"""The whole way from a network of the search space to a served INT8 file."""

import numpy as np
import pytest
from PIL import Image

from automl.bundle.network import export_network, parity
from automl.bundle.runtime import open_session
from automl.bundle.wrap import wrap_network
from automl.compression.quantize import quantize_int8
from automl.models.build import build_model
from automl.records import ModelSpec, Normalisation

SIZE = (64, 128)
NORMALISATION = Normalisation(mean=(120.0, 110.0, 100.0), std=(60.0, 60.0, 60.0))

PAIRS = [
    ("mobilenetv3_small_100", "fpn_lite"),
    ("mobilenetv3_small_100", "unet"),
    ("mobilenetv3_small_100", "deeplabv3plus"),
    ("tf_efficientnet_lite0", "fpn"),
    # Attention in windows, and over maps that are cut into patches: made for one size.
    ("swin_tiny_patch4_window7_224", "fpn_lite"),
    ("mobilevitv2_050", "fpn_lite"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "decoder"), PAIRS)
def test_network_is_exported_wrapped_and_quantized(tmp_path, encoder, decoder):
    spec = ModelSpec(encoder=encoder, decoder=decoder, decoder_width=32)
    model = build_model(spec, num_classes=4, size=SIZE, seed=0).eval()
    random = np.random.default_rng(0)
    images_nchw = random.normal(size=(2, 3, *SIZE)).astype(np.float32)
    core, int8 = tmp_path / "core.onnx", tmp_path / "int8.onnx"
    export_network(model, size=SIZE, path=core)
    parity(model, core, images_nchw)
    quantize_int8(core, int8, (image_chw[None] for image_chw in images_nchw))
    coarse = Image.fromarray(random.integers(0, 256, (8, 12, 3), dtype=np.uint8))
    photo_hwc = np.asarray(coarse.resize((150, 110)))
    masks = []
    for network in (core, int8):
        served = tmp_path / f"served-{network.name}"
        wrap_network(network, served, normalisation=NORMALISATION, size=SIZE, num_classes=4)
        masks.append(open_session(served, threads=1).run(photo_hwc))
    assert masks[0].shape == masks[1].shape == (110, 150)
    assert int8.stat().st_size < 0.6 * core.stat().st_size
