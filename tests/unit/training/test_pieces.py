"""Batches in pieces: the same steps as of the whole batches, in less memory."""

import pytest
import torch
from torch import nn

from automl.data.batching import Batch
from automl.records import IGNORE
from automl.training.loop import fit
from automl.training.losses import CombinedLoss, LossOptions, focal_loss
from automl.training.pieces import shares_of, split_batch
from automl.training.steps import SupervisedLoss

CPU = torch.device("cpu")


@pytest.fixture
def train(dataset, tiny_net, settings_for, recorder):
    def run(loss, *, folder=None, reporter=None, net=None, **changes):
        net = tiny_net() if net is None else net
        result = fit(
            net,
            dataset,
            settings_for(optimizer="sgd", **changes),
            step_loss=loss,
            reporter=recorder() if reporter is None else reporter,
            checkpoint_folder=folder,
        )
        return result, torch.cat([p.detach().flatten() for p in net.parameters()])

    return run


def weighted(alpha, gamma=2.0, **options):
    weights = torch.tensor([0.25, 2.0, 1.0])
    return SupervisedLoss(CombinedLoss(alpha, gamma, weights, LossOptions(**options)))


class MeanOverImages(nn.Module):
    """A loss that says nothing of weights: its pieces count by their images."""

    def forward(self, model, images, target):
        return (model(images).mean(1) - target.clamp_max(2)).square().mean()


@pytest.mark.parametrize("pieces", [2, 3, 5, 64])
@pytest.mark.parametrize(
    "loss",
    [
        weighted(0.0),
        weighted(0.0, label_smoothing=0.1, boundary_weight=5.0),
        MeanOverImages(),
    ],
    ids=["focal", "smoothed, near boundaries", "mean"],
)
def test_pieces_train_as_the_whole_batch(train, loss, pieces):
    """Uneven pieces, ignored pixels and class weights included; 64 is cut to one image each."""
    whole, expected = train(loss, batch_size=5)
    result, weights = train(loss, batch_size=5, micro_batches=pieces)
    assert result.losses == pytest.approx(whole.losses, rel=1e-5)
    torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-6)
    assert result.metrics["miou"] == pytest.approx(whole.metrics["miou"], rel=1e-3)


@pytest.mark.parametrize("region_loss", ["dice", "foreground_dice", "generalised_dice", "lovasz"])
def test_losses_that_do_not_split_train_in_pieces_all_the_same(train, region_loss):
    """Not as the whole batch, but near it, and no worse over some epochs."""
    loss = weighted(0.5, region_loss=region_loss, ohem_share=0.5)
    whole, _ = train(loss, batch_size=5, epochs=4)
    result, _ = train(loss, batch_size=5, epochs=4, micro_batches=5)
    assert result.losses != whole.losses
    assert result.losses == pytest.approx(whole.losses, rel=0.2)
    assert result.losses[-1] < result.losses[0]


def test_pieces_add_up_over_accumulated_batches(train):
    whole, expected = train(weighted(0.0), batch_size=4, accumulate=2)
    result, weights = train(weighted(0.0), batch_size=4, accumulate=2, micro_batches=2)
    assert result.losses == pytest.approx(whole.losses, rel=1e-5)
    torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-6)


def test_dice_of_pieces_is_near_that_of_the_batch(train):
    whole, _ = train(weighted(1.0), batch_size=5)
    result, _ = train(weighted(1.0), batch_size=5, micro_batches=2)
    assert result.losses != whole.losses
    assert result.losses == pytest.approx(whole.losses, rel=0.1)


@pytest.mark.parametrize("micro_batches", [1, 2, 3])
def test_no_more_images_than_a_piece_holds_are_in_the_network_at_once(
    train, tiny_net, micro_batches
):
    seen = []

    class Counts(tiny_net):
        def forward_with_features(self, images_nchw):
            seen.append((self.training, len(images_nchw)))
            return super().forward_with_features(images_nchw)

    train(weighted(0.5), batch_size=4, epochs=1, micro_batches=micro_batches, net=Counts())
    trained = [count for training, count in seen if training]
    assert max(count for _, count in seen) == -(-4 // micro_batches)
    # 10 images in batches of 4: 2 batches, each whole.
    assert sum(trained) == 8
    assert len(trained) == 2 * micro_batches


def test_run_goes_on_in_pieces_from_a_checkpoint_without(train, recorder, tmp_path):
    expected, weights = train(weighted(0.0), batch_size=5)
    with pytest.raises(KeyboardInterrupt):
        train(weighted(0.0), batch_size=5, folder=tmp_path, reporter=recorder(raise_at=1))
    heard = recorder()
    result, continued = train(
        weighted(0.0), batch_size=5, micro_batches=4, folder=tmp_path, reporter=heard
    )
    assert [epoch for epoch, _ in heard.heard] == [1, 2, 3]
    assert result.losses == pytest.approx(expected.losses, rel=1e-5)
    torch.testing.assert_close(continued, weights, rtol=1e-4, atol=1e-6)


def batch(*labels):
    masks = torch.stack([torch.full((2, 2), label) for label in labels])
    return Batch(images_nhwc=torch.zeros(len(labels), 2, 2, 3, dtype=torch.uint8), masks_nhw=masks)


def test_pieces_are_the_batch_in_order():
    pieces = split_batch(batch(0, 1, 2, 0, 1), 2)
    assert [piece.masks_nhw[:, 0, 0].tolist() for piece in pieces] == [[0, 1, 2], [0, 1]]
    assert [len(piece.images_nhwc) for piece in pieces] == [3, 2]


def test_shares_are_those_of_the_pixels_weights():
    loss = CombinedLoss(0.5, 2.0, torch.tensor([1.0, 3.0]))
    shares = shares_of(loss, [batch(0, IGNORE), batch(1)], CPU)
    assert [float(share) for share in shares] == pytest.approx([0.25, 0.75])


def test_weight_is_what_the_focal_mean_divides_by():
    torch.manual_seed(0)
    logits, target = torch.randn(4, 3, 5, 5), torch.randint(0, 3, (4, 5, 5))
    target[0, :3] = IGNORE
    weights = torch.tensor([0.2, 1.0, 4.0])
    loss = CombinedLoss(0.0, 1.5, weights)
    parts = [slice(0, 1), slice(1, 4)]
    sums = [focal_loss(logits[p], target[p], 1.5, weights) * loss.weight(target[p]) for p in parts]
    expected = focal_loss(logits, target, 1.5, weights) * loss.weight(target)
    assert float(sum(sums)) == pytest.approx(float(expected), rel=1e-5)
    assert float(CombinedLoss(0.0, 1.5).weight(target)) == 4 * 25 - 15


def test_batch_without_labels_has_shares_without_nan():
    shares = shares_of(CombinedLoss(0.5, 2.0), [batch(IGNORE), batch(IGNORE)], CPU)
    assert [float(share) for share in shares] == [0.0, 0.0]


def test_pieces_keep_the_numbers_of_their_samples():
    batch = Batch(
        images_nhwc=torch.arange(5).view(5, 1, 1, 1),
        masks_nhw=torch.arange(5).view(5, 1, 1),
        samples_n=torch.arange(5) + 70,
    )
    for piece in split_batch(batch, 2):
        assert torch.equal(piece.samples_n, piece.masks_nhw.flatten() + 70)
