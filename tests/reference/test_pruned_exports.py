"""Pruned at 30 %, every network of the shipped experiments computes in ONNX Runtime what it does in
PyTorch: logits within 1e-3 (of their largest, where that is above 1), 99.9 % of the labels alike.
"""

from itertools import product
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml

from automl.bundle.network import export_network
from automl.compression.prune import prune
from automl.measurement.cost import model_cost
from automl.models.build import build_model, check_spec
from automl.models.decoders import DECODERS
from automl.records import ModelSpec

SPACES = Path(__file__).parents[2] / "search_spaces"
SIZE = (96, 128)


def options(domain):
    return domain["choice"] if isinstance(domain, dict) else [domain]


def encoders():
    """Every encoder that a shipped experiment names."""
    named = {}
    for file in sorted(SPACES.glob("*.yaml")):
        space = yaml.safe_load(file.read_text(encoding="utf-8")).get("space", {})
        named |= dict.fromkeys(options(space.get("encoder", "mobilenetv3_small_100")))
    return list(named)


FEW = [
    ("mobilenetv3_small_100", "fpn_lite"),
    ("mobilenetv3_small_100", "deeplabv3plus"),
    ("resnet18", "unet"),
]
ALL = [pair for pair in product(encoders(), DECODERS) if pair not in FEW]


def pruned_network(encoder, decoder):
    spec = ModelSpec(encoder=encoder, decoder=decoder, decoder_width=48)
    if check_spec(spec, SIZE):
        pytest.skip(f"{encoder} + {decoder} is no network: {check_spec(spec, SIZE)[0]}")
    model = build_model(spec, num_classes=5, size=SIZE, seed=0)
    images_nchw = torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.train()(images_nchw)  # running statistics that are not 0 and 1
    pruned = prune(model.eval(), torch.zeros(1, 3, *SIZE), 0.3)
    assert model_cost(pruned, SIZE)[1] < 0.75 * model_cost(model, SIZE)[1]
    return pruned, images_nchw


def check_parity(encoder, decoder, folder):
    pruned, images_nchw = pruned_network(encoder, decoder)
    export_network(pruned, size=SIZE, path=folder / "core.onnx")
    session = onnxruntime.InferenceSession(folder / "core.onnx", providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    equal = []
    for image_nchw in images_nchw.split(1):
        with torch.no_grad():
            expected = pruned(image_nchw).numpy()
        found = session.run(None, {name: image_nchw.numpy()})[0]
        # Logits as large as a hundred are not alike to a thousandth in single precision.
        bound = 1e-3 * max(1.0, float(np.abs(expected).max()))
        assert float(np.abs(found - expected).max()) <= bound
        equal.append(float((found.argmax(1) == expected.argmax(1)).mean()))
    assert np.mean(equal) >= 0.999


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "decoder"), FEW)
def test_a_pruned_network_computes_the_same_in_onnx_runtime(encoder, decoder, tmp_path):
    check_parity(encoder, decoder, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("encoder", "decoder"), ALL)
def test_every_shipped_pair_computes_the_same_in_onnx_runtime(encoder, decoder, tmp_path):
    check_parity(encoder, decoder, tmp_path)
