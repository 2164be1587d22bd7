import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from automl.errors import UsageError
from automl.jobs.beginning import Elastic, Trained, write_beginning
from automl.jobs.network import build_network
from automl.jobs.trained import TrainedNetwork
from automl.records import DatasetInfo, Normalisation, TrialConfig, to_json
from automl.space.experiment import Experiment
from automl.space.parameters import parameters_from
from automl.stages import grad_cam
from automl.stages.explain import ExplanationRequest, explain
from automl.stages.grad_cam import heat_of
from automl.stages.reproduce import recorded_experiment
from automl.store.journal import Journal
from automl.store.layout import StudyFolder
from automl.training.checkpoint import Checkpoint, save_checkpoint

INFO = DatasetInfo(
    name="toy",
    task="segmentation",
    classes=("ground", "crack", "rust"),
    size=(64, 96),
    counts={"train": 6, "val": 3, "test": 2},
    class_pixel_share=(0.8, 0.1, 0.1),
    class_images={"train": (6, 3, 3), "val": (3, 1, 1), "test": (2, 1, 1)},
    normalisation=Normalisation(mean=(120.0, 120.0, 120.0), std=(60.0, 60.0, 60.0)),
    fingerprint="f" * 64,
)


class Classifier(nn.Module):
    """A map of two channels, averaged, and a linear head."""

    def __init__(self):
        super().__init__()
        self.map = nn.Conv2d(3, 2, 1, bias=False)
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.map.weight.copy_(torch.eye(2, 3).reshape(2, 3, 1, 1))
            self.head.weight.copy_(torch.tensor([[1.0, -1.0], [-2.0, 3.0]]))

    def forward(self, pixels_nchw):
        return self.head(self.map(pixels_nchw).mean((2, 3)))


def by_hand(weights, map_chw):
    heat = np.maximum(np.tensordot(weights, map_chw, 1), 0)
    return (heat - heat.min()) / (heat.max() - heat.min() + 1e-7)


@pytest.mark.parametrize("label", [0, 1])
def test_of_a_classifier_the_weights_are_those_of_its_head(label):
    network = Classifier()
    pixels = torch.from_numpy(np.random.default_rng(0).random((1, 3, 8, 8), np.float32))
    heat = heat_of(network, network.map, pixels, label)
    expected = by_hand(network.head.weight[label].detach().numpy(), pixels[0, :2].numpy())
    np.testing.assert_allclose(heat, expected, atol=1e-4)


def test_of_a_segmentation_the_score_is_that_of_the_pixels_of_the_class():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
    pixels = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype("float32"))
    heat = heat_of(network, network[1], pixels, 1)
    features = network[1](network[0](pixels)).detach().requires_grad_()
    logits = network[2](features)[0]
    logits[1][logits.argmax(0) == 1].sum().backward()
    expected = by_hand(features.grad[0].mean((1, 2)).numpy(), features.detach()[0].numpy())
    np.testing.assert_allclose(heat, expected, atol=1e-4)


@pytest.fixture
def study(tmp_path):
    """The folder of a study with one trial, and its checkpoint."""
    plain = {
        "space": {
            "encoder": "mobilenetv3_small_050",
            "decoder": "fpn_lite",
            "decoder_width": 16,
            "pretrained": False,
        }
    }
    experiment = Experiment.from_json(plain)
    root = tmp_path / "study"
    folder = StudyFolder.open_or_create(root, experiment.to_json(), experiment.key())
    folder.record_dataset(INFO)
    config = TrialConfig(number=0, seed=3, params=experiment.space.default())
    with Journal(folder.journal_file) as journal:
        journal.append({"kind": "proposed", "config": to_json(config)})
    network = build_network(parameters_from(config.params), INFO, seed=3)
    checkpoint = Checkpoint(epoch=2, model_state=network.state_dict(), optimizer_state={})
    save_checkpoint(folder.trial(config.trial_id) / "checkpoint", checkpoint)
    photo = np.random.default_rng(0).integers(0, 256, (70, 110, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    return root


@pytest.fixture
def request_of(study, tmp_path):
    def make(**change):
        given = {
            "study": study,
            "trial": "0",
            "image": tmp_path / "photo.png",
            "class_name": "crack",
            "out": tmp_path / "heat.png",
        }
        return ExplanationRequest(**{**given, **change})

    return make


@pytest.mark.parametrize("layer", ["encoder", "decoder"])
def test_the_picture_has_the_size_of_the_photo_and_differs_from_it(request_of, tmp_path, layer):
    done = explain(request_of(layer=layer))
    assert done.epoch == 2
    assert done.trial_id.startswith("0000-")
    picture = np.asarray(Image.open(tmp_path / "heat.png"))
    photo = np.asarray(Image.open(tmp_path / "photo.png"))
    assert picture.shape == photo.shape
    assert (picture != photo).mean() > 0.5


def test_a_network_that_went_on_from_weights_is_shown_what_they_were_trained_to_see(
    request_of, study, tmp_path, monkeypatch
):
    folder = StudyFolder(study)
    params = recorded_experiment(study).space.default()
    own = Normalisation(mean=(20.0, 30.0, 40.0), std=(10.0, 20.0, 30.0))
    known = TrainedNetwork(
        name="old/0", params=params, normalisation=own, dataset=INFO, experiment={}
    )
    state = build_network(parameters_from(params), INFO, seed=3).state_dict()
    trained = Trained(record=known, state=state, elastic=Elastic(), fisher={})
    write_beginning(folder.beginning, trained)
    seen = []
    monkeypatch.setattr(grad_cam, "heat_of", seeing(seen, grad_cam.heat_of))
    explain(request_of(image=photo_of(tmp_path, (96, 64))))
    photo = np.asarray(Image.open(tmp_path / "fitting.png")).astype(np.float32)
    expected = (photo - np.float32(own.mean)) / np.float32(own.std)
    np.testing.assert_allclose(seen[0][0].movedim(0, -1).numpy(), expected, rtol=1e-5, atol=1e-5)


def photo_of(root, size):
    """A photo of the network's own size, which is not resized."""
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "fitting.png")
    return root / "fitting.png"


def seeing(seen, real):
    """`heat_of`, which notes the pixels that it is given."""

    def noted(network, layer, pixels, label, *, channels_last=False):
        seen.append(pixels)
        return real(network, layer, pixels, label, channels_last=channels_last)

    return noted


def test_what_cannot_be_explained_is_told(request_of, study, tmp_path, monkeypatch):
    for change, told in (
        (
            {"class_name": "crak"},
            "--class: given 'crak'; allowed: ground, crack, rust; the nearest",
        ),
        ({"trial": "7"}, "holds no trial 7"),
        ({"trial": "best"}, "no trial has completed"),
        ({"out": tmp_path / "heat.jpg"}, "must end in .png"),
        ({"image": tmp_path / "nothing.png"}, "no such file"),
        ({"study": tmp_path / "nothing"}, "holds no"),
    ):
        with pytest.raises(UsageError, match=told):
            explain(request_of(**change))
    for file in study.rglob("*.safetensors"):
        file.unlink()
    with pytest.raises(UsageError, match="has no checkpoint left"):
        explain(request_of())
    monkeypatch.setitem(sys.modules, "automl.stages.grad_cam", None)
    with pytest.raises(UsageError, match=r"pip install 'automl\[explain\]'"):
        explain(request_of())
