"""One image whose coarsest map has one value a channel: batch norms have no statistics of it."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from automl.data.batching import Batch
from automl.data.dataset import open_dataset
from automl.data.writing import DatasetWriter
from automl.models.build import build_model
from automl.models.decoders import DECODERS
from automl.records import ModelSpec
from automl.training.lone_values import LoneValues
from automl.training.loop import fit, prepared
from automl.training.statistics import renew_statistics

SIZE = (32, 32)
OTHER = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(9))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Three training images of 32 x 32, left half and right half, told apart by their colour."""
    root = tmp_path_factory.mktemp("small")
    rng = np.random.default_rng(0)
    with DatasetWriter(root, classes=("left", "right"), size=SIZE) as writer:
        for name in ("train", "val", "test"):
            for number in range(3):
                mask = np.zeros(SIZE, np.uint8)
                mask[:, 16:] = 1
                image = rng.integers(0, 100, (*SIZE, 3), dtype=np.uint8)
                image[:, 16:] += 150
                writer.add(name, f"{name}{number}", image, mask)
        writer.finish("halves", ignore_index=None)
    return open_dataset(root)


def network(decoder="fpn_lite", encoder="resnet10t"):
    spec = ModelSpec(encoder=encoder, decoder=decoder, decoder_width=16, pretrained=False)
    return build_model(spec, num_classes=2, size=SIZE, seed=0)


class Coarse(nn.Module):
    """A norm over many values, then one over a single value a channel of each 32 x 32 image."""

    def __init__(self):
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.BatchNorm2d(4), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(4, 4, 8, stride=8), nn.BatchNorm2d(4))

    def forward(self, images_nchw):
        return self.coarse(self.fine(images_nchw))


@pytest.mark.parametrize("decoder", DECODERS)
def test_batches_of_one_small_image_train(decoder, small, supervised, settings_for, recorder):
    settings = settings_for(epochs=3, batch_size=1, normalisation=small.info.normalisation)
    result = fit(network(decoder), small, settings, step_loss=supervised, reporter=recorder())
    assert result.epochs == 3
    assert result.losses[-1] < 0.8 * result.losses[0]


@pytest.mark.parametrize("pieces", [2, 3])
def test_pieces_of_one_small_image_train(pieces, small, supervised, settings_for, recorder):
    """Three images in two pieces are two and one."""
    settings = settings_for(
        epochs=1, batch_size=3, micro_batches=pieces, normalisation=small.info.normalisation
    )
    fit(network(), small, settings, step_loss=supervised, reporter=recorder())


def test_an_encoder_with_norms_behind_its_pooling_trains_on_one_image(small, supervised):
    """Split attention (ResNeSt) norms one value a channel and image, whatever the image's size."""
    model = network(encoder="resnest14d").train()
    images = torch.randn(1, 3, 64, 64)
    with LoneValues().resting(model, images):
        supervised(model, images, torch.zeros(1, 64, 64, dtype=torch.long)).backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_only_norms_of_one_value_rest_and_they_are_what_they_are_in_evaluation():
    torch.manual_seed(0)
    model = Coarse()
    for _ in range(5):
        model(OTHER)
    before = copy.deepcopy(model.state_dict())
    fine, coarse = model.fine[1], model.coarse[1]
    image = OTHER[:1]
    with LoneValues().resting(model, image):
        assert (fine.training, coarse.training) == (True, False)
        fine_map = model.fine(image)
        found = model.coarse(fine_map)
    assert model.training
    assert coarse.training
    model.coarse.eval()
    torch.testing.assert_close(found, model.coarse(fine_map))
    # It learns: the statistics of one value would make a constant of it.
    (gradient,) = torch.autograd.grad(found.square().sum(), model.coarse[0].weight)
    assert gradient.abs().max() > 0
    after = model.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved == {f"fine.1.{n}" for n in ("running_mean", "running_var", "num_batches_tracked")}


def test_norms_at_rest_stay_so():
    model = Coarse()
    model.fine[1].eval()
    model.coarse[1].eval()
    with LoneValues().resting(model, OTHER[:1]):
        pass
    assert not model.fine[1].training
    assert not model.coarse[1].training


@pytest.mark.parametrize(("ranks", "images"), [(1, 2), (2, 1)])
def test_what_has_more_than_one_value_rests_not(ranks, images):
    model = Coarse()
    with LoneValues(ranks=ranks).resting(model, OTHER[:images]):
        assert model.coarse[1].training


def test_a_network_is_asked_once_a_size(monkeypatch):
    model, passes = Coarse(), []
    model.register_forward_hook(lambda *_: passes.append(1))
    lone = LoneValues()
    for side in (32, 32, 64, 64):
        with lone.resting(model, torch.zeros(1, 3, side, side)):
            assert model.coarse[1].training is (side == 64)
    assert len(passes) == 2


def test_renewed_statistics_are_of_what_has_more_than_one_value():
    torch.manual_seed(0)
    model = Coarse()
    model(OTHER)
    kept = copy.deepcopy(model.coarse[1].state_dict())
    renew_statistics(model, [OTHER[:1], OTHER[1:]], LoneValues())
    expected = model.fine[0](OTHER).mean((0, 2, 3))
    torch.testing.assert_close(model.fine[1].running_mean, expected)
    for name, value in model.coarse[1].state_dict().items():
        assert torch.equal(value, kept[name])
    assert model.training


@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_that_share_statistics_have_more_than_one_value(
    ranks, small, supervised, settings_for
):
    """There is no second rank here: the one image is refused where statistics were to be shared."""
    settings = settings_for(batch_size=1, normalisation=small.info.normalisation)
    batch = Batch(
        images_nhwc=torch.zeros(1, *SIZE, 3, dtype=torch.uint8),
        masks_nhw=torch.zeros(1, *SIZE, dtype=torch.int64),
    )
    with prepared(network(), small, settings, step_loss=supervised) as run:
        run.stepper.step_module.train()
        run.stepper.lone_values = LoneValues(ranks=ranks)
        if ranks == 1:
            assert run.stepper._forward(batch).isfinite()
        else:
            with pytest.raises(ValueError, match="more than 1 value"):
                run.stepper._forward(batch)
