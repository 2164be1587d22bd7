"""A batch with two targets: the loss is mixed, of one pass of the model, in pieces, too."""

import pytest
import torch
from torch import nn

from automl.compression.distill import DistillationLoss, DistillationSettings
from automl.data.batching import Batch
from automl.records import IGNORE
from automl.training.losses import CombinedLoss
from automl.training.pieces import shares_of, split_batch, targets_of
from automl.training.remembering import Remembering
from automl.training.resolution import scaled_batch
from automl.training.steps import SupervisedLoss, TrainingStep

SHARE = 0.3
CPU = torch.device("cpu")


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)

    def masks(seed):
        drawn = torch.randint(0, 4, (5, 16, 16), generator=generator.manual_seed(seed))
        return torch.where(drawn == 3, IGNORE, drawn)

    images = torch.randint(0, 256, (5, 16, 16, 3), generator=generator, dtype=torch.uint8)
    return Batch(
        images_nhwc=images, masks_nhw=masks(1), second_masks_nhw=masks(2), first_share=SHARE
    )


def images_of(batch):
    return batch.images_nhwc.permute(0, 3, 1, 2) / 255


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def pieces_loss(module, loss, batch, count):
    """What the stepper adds up."""
    pieces = split_batch(batch, count)
    shares = shares_of(loss, pieces, CPU)
    return sum(
        (module(images_of(piece), *targets_of(piece)) * share).sum()
        for piece, share in zip(pieces, shares, strict=True)
    )


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_loss_is_that_of_both_targets_mixed(tiny_net, batch, alpha):
    net, loss = tiny_net(), CombinedLoss(alpha, 2.0, torch.tensor([0.25, 2.0, 1.0]))
    logits = net(images_of(batch))
    expected = SHARE * loss(logits, batch.masks_nhw) + (1 - SHARE) * loss(
        logits, batch.second_masks_nhw
    )
    wanted = gradients(net, expected)
    module = TrainingStep(net, SupervisedLoss(loss))
    found = pieces_loss(module, loss, batch, 1)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.allclose(gradients(net, found), wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_pieces_are_the_whole_batch(tiny_net, batch, count):
    """Each target's pieces weigh by their own pixels."""
    net, loss = tiny_net(), CombinedLoss(0.0, 2.0, torch.tensor([0.25, 2.0, 1.0]))
    module = TrainingStep(net, SupervisedLoss(loss))
    whole = pieces_loss(module, loss, batch, 1)
    wanted = gradients(net, whole)
    found = pieces_loss(module, loss, batch, count)
    assert found.item() == pytest.approx(whole.item(), rel=1e-5)
    assert torch.allclose(gradients(net, found), wanted, rtol=1e-4, atol=1e-6)


def test_a_distillation_is_mixed_in_its_task_alone(tiny_net, batch):
    net = tiny_net()
    task = CombinedLoss(0.5, 2.0)

    def distilling(task_loss):
        return DistillationLoss(
            tiny_net(width=6, seed=7),
            task_loss=task_loss,
            channels=(8, 6),
            settings=DistillationSettings(),
            seed=0,
        )

    def mixed_task(logits, _target):
        return SHARE * task(logits, batch.masks_nhw) + (1 - SHARE) * task(
            logits, batch.second_masks_nhw
        )

    expected = distilling(mixed_task)(net, images_of(batch), batch.masks_nhw)
    module = TrainingStep(net, distilling(task))
    found = pieces_loss(module, None, batch, 1)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_model_runs_once(batch):
    class Counting(nn.Module):
        calls = 0

        def forward(self, images_nchw):
            self.calls += 1
            return images_nchw.clone()

    model = Counting()
    TrainingStep(model, SupervisedLoss(CombinedLoss(0.5, 2.0)))(
        images_of(batch), *targets_of(batch)
    )
    assert model.calls == 1
    remembering, images = Remembering(model), images_of(batch)
    assert remembering(images) is remembering(images)
    remembering(images + 1)  # others are computed
    assert model.calls == 3


def test_a_smaller_size_takes_both_masks(batch, monkeypatch):
    monkeypatch.setattr("automl.fidelity.SIDE_UNIT", 4)
    small = scaled_batch(batch, 0.5, CPU)
    assert small.second_masks_nhw.shape == small.masks_nhw.shape == (5, 8, 8)
    assert torch.equal(small.second_masks_nhw, batch.second_masks_nhw[:, 1::2, 1::2])
    assert small.first_share == SHARE


def test_a_run_with_mixup_goes_on_bit_by_bit(
    tiny_net, dataset, settings_for, supervised, recorder, tmp_path
):
    from automl.training.loop import fit

    def run(folder, reporter):
        net = tiny_net()
        result = fit(
            net,
            dataset,
            settings_for(mixup=0.7, copy_paste=0.5, classmix=0.5),
            step_loss=supervised,
            reporter=reporter,
            checkpoint_folder=tmp_path / folder,
        )
        return result.losses, torch.cat([p.detach().flatten() for p in net.parameters()])

    whole = run("whole", recorder())
    run("parts", recorder(stop_at=1))
    parts = run("parts", recorder())
    assert parts[0] == whole[0]
    assert torch.equal(parts[1], whole[1])


def test_images_without_objects_do_not_make_the_loss_degenerate(tiny_net):
    """Ground alone, in both targets: the loss is finite, and learns."""
    ground = torch.zeros(2, 16, 16, dtype=torch.int64)
    net = tiny_net()
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for region in ("dice", "foreground_dice", "generalised_dice", "lovasz"):
        from automl.training.losses import LossOptions

        loss = CombinedLoss(1.0, 2.0, None, LossOptions(region_loss=region))
        losses = TrainingStep(net, SupervisedLoss(loss))(images, ground, ground)
        found = gradients(net, losses.sum())
        assert torch.isfinite(losses).all()
        assert torch.isfinite(found).all()
        assert 0 < losses[0] < 1
        assert found.abs().sum() > 0
