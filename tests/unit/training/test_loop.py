import copy
import dataclasses
import hashlib
import json
import math

import pytest
import torch
from torch import nn

from automl.errors import TrialError, UsageError
from automl.records import Verdict, canonical_json
from automl.training.checkpoint import load_checkpoint
from automl.training.evaluation import evaluate
from automl.training.loop import fit
from automl.training.manner import Manner

RECIPES = {
    "adamw": {},
    "sgd": {"optimizer": "sgd", "accumulate": 2, "clip_norm": None},
    "lion": {"optimizer": "lion", "learning_rate": 1e-3},
    "bf16": {"precision": "bf16"},
}


@pytest.fixture
def train(dataset, tiny_net, supervised, settings_for, recorder):
    """Fit a fresh net; gives the result, the net and what the reporter heard."""

    def run(*, folder=None, reporter=None, net=None, loss=None, **changes):
        net = tiny_net(dropout=0.3) if net is None else net
        reporter = recorder() if reporter is None else reporter
        result = fit(
            net,
            dataset,
            settings_for(**changes),
            step_loss=supervised if loss is None else loss,
            reporter=reporter,
            checkpoint_folder=folder,
        )
        return result, net, reporter.heard

    return run


def assert_same_weights(one, other):
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize("recipe", RECIPES)
def test_repeat_run_gives_identical_losses_and_weights(train, recipe):
    first, one, heard = train(**RECIPES[recipe])
    torch.rand(7)
    second, other, heard_again = train(**RECIPES[recipe])
    assert first.losses == second.losses
    assert heard == heard_again
    assert_same_weights(one, other)


def test_loader_threads_change_no_bit(train):
    alone = train(augmentation="strong", cutmix=0.5)
    threaded = train(augmentation="strong", cutmix=0.5, loader_workers=3)
    assert alone[0].losses == threaded[0].losses
    assert alone[2] == threaded[2]
    assert_same_weights(alone[1], threaded[1])


def test_seed_changes_the_losses(train):
    assert train(seed=0)[0].losses != train(seed=1)[0].losses


def test_training_learns(train, tiny_net):
    result, _, heard = train(epochs=30, learning_rate=3e-2, net=tiny_net(width=16))
    assert result.losses[-1] < 0.5 * result.losses[0]
    assert heard[-1][1]["miou"] > heard[0][1]["miou"] + 0.1
    assert heard[-1][1]["val_loss"] < heard[0][1]["val_loss"]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("epoch", [1, 3])
def test_run_that_was_cut_short_goes_on_as_if_undisturbed(train, recorder, tmp_path, recipe, epoch):
    changes = {"epochs": 4, **RECIPES[recipe]}
    expected, one, heard = train(**changes)
    with pytest.raises(KeyboardInterrupt):
        train(folder=tmp_path, reporter=recorder(raise_at=epoch), **changes)
    result, other, heard_again = train(folder=tmp_path, **changes)
    assert result.losses == expected.losses
    assert result.scores == expected.scores
    assert result.epochs == 4
    # The epoch whose report failed is told again, with the same metrics.
    assert heard_again == heard[epoch - 1 :]
    assert_same_weights(one, other)


def test_damaged_newest_checkpoint_only_costs_its_epoch(train, recorder, tmp_path):
    expected, one, _ = train()
    with pytest.raises(KeyboardInterrupt):
        train(folder=tmp_path, reporter=recorder(raise_at=2))
    (tmp_path / "epoch-00002" / "model.safetensors").write_bytes(b"torn")
    result, other, heard = train(folder=tmp_path)
    assert [epoch for epoch, _ in heard] == [1, 2, 3]
    assert result.losses == expected.losses
    assert_same_weights(one, other)


def test_finished_run_only_reads_its_checkpoint(train, tmp_path, monkeypatch):
    expected, one, heard = train(folder=tmp_path)
    monkeypatch.setattr("automl.training.loop.evaluate", None)
    monkeypatch.setattr("automl.training.loop.EpochPlan.batches", None)
    result, other, heard_again = train(folder=tmp_path)
    assert heard_again == heard[-1:]
    assert (result.epochs, result.stopped) == (3, False)
    assert (result.losses, result.scores) == (expected.losses, expected.scores)
    assert result.metrics == expected.metrics
    assert_same_weights(one, other)


def test_verdict_stops_the_run_and_a_later_one_can_go_on(train, recorder, tmp_path):
    expected, one, _ = train()
    stopped, _, heard = train(folder=tmp_path, reporter=recorder(stop_at=2))
    assert (stopped.epochs, stopped.stopped) == (2, True)
    assert [epoch for epoch, _ in heard] == [1, 2]
    again, _, heard = train(folder=tmp_path, reporter=recorder(stop_at=2))
    assert (again.epochs, again.stopped) == (2, True)
    assert [epoch for epoch, _ in heard] == [2]
    promoted, other, _ = train(folder=tmp_path)
    assert promoted.losses == expected.losses
    assert_same_weights(one, other)


def test_checkpoint_is_on_disk_before_its_epoch_is_reported(train, tmp_path):
    class Looks:
        heard = ()

        def report(self, epoch, metrics):
            found = load_checkpoint(tmp_path, torch.device("cpu"))
            assert found.epoch == epoch
            assert found.extra["progress"]["losses"][-1] == metrics["train_loss"]
            return Verdict.CONTINUE

    train(folder=tmp_path, reporter=Looks())


def test_metrics_are_those_of_the_last_weights(train, dataset, settings_for):
    result, net, heard = train()
    found = evaluate(
        net,
        dataset.split("val"),
        num_classes=3,
        settings=settings_for().for_evaluation(world_size=1),
    )
    metrics = heard[-1][1]
    assert result.metrics == metrics
    assert result.scores == found.scores
    assert metrics["val_loss"] == found.cross_entropy
    assert metrics["miou"] == found.scores.miou
    assert metrics["dice"] == found.scores.dice
    assert metrics["pixel_accuracy"] == found.scores.pixel_accuracy
    assert metrics["iou.ground"] == found.scores.iou[0]
    assert metrics["train_loss"] == result.losses[-1]


@pytest.mark.parametrize("epochs_before", [0, 1])
def test_loss_that_is_not_finite_names_step_and_learning_rate(
    train, supervised, tmp_path, epochs_before
):
    class Breaks(nn.Module):
        calls = 0

        def forward(self, model, images, target):
            self.calls += 1
            loss = supervised(model, images, target)
            # 10 images in batches of 4: 2 steps an epoch.
            return loss * math.nan if self.calls == 2 + 2 * epochs_before else loss

    with pytest.raises(TrialError) as error:
        train(folder=tmp_path, loss=Breaks(), warmup_epochs=0.0, learning_rate=0.025)
    step = 2 + 2 * epochs_before
    assert f"the loss is nan at step {step} of 6 (epoch {1 + epochs_before})" in str(error.value)
    factor = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - 1) / 5))
    assert f"learning rate {0.025 * factor:.3g} of a peak of 0.025" in str(error.value)
    # Broken weights never reach the disk.
    assert len(list(tmp_path.iterdir())) == epochs_before


def test_weights_broken_by_the_last_step_are_found_on_val(train, supervised):
    class BreaksGradient(nn.Module):
        calls = 0

        def forward(self, model, images, target):
            self.calls += 1
            loss = supervised(model, images, target)
            if self.calls == 2:
                loss.register_hook(lambda gradient: gradient * math.nan)
            return loss

    with pytest.raises(TrialError, match=r"loss on val is nan after step 2 \(epoch 1\)"):
        train(loss=BreaksGradient(), clip_norm=None)
    # The norm that clipping needs shows it at once.
    with pytest.raises(TrialError) as error:
        train(loss=BreaksGradient(), learning_rate=0.025, warmup_epochs=0.0)
    assert "the gradient's norm is nan at step 2 of 6 (epoch 1)" in str(error.value)
    assert "of a peak of 0.025" in str(error.value)


def test_accumulated_batches_equal_the_larger_batch(train, tiny_net):
    class MeanLoss(nn.Module):
        """A mean over samples, as accumulating takes means of means."""

        def forward(self, model, images, target):
            return (model(images).mean(1) - target.clamp_max(2)).square().mean()

    # 10 images: one batch of 10 against two of 5, both one step an epoch over all of them.
    changes = {"loss": MeanLoss(), "optimizer": "sgd"}
    large, one, _ = train(net=tiny_net(), batch_size=10, **changes)
    small, other, _ = train(net=tiny_net(), batch_size=5, accumulate=2, **changes)
    assert small.losses == pytest.approx(large.losses, rel=1e-5)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


def test_settings_of_another_run_are_refused_by_name(train, tmp_path):
    train(folder=tmp_path)
    with pytest.raises(TrialError, match=r"of another run \(learning_rate was 0.01\)"):
        train(folder=tmp_path, learning_rate=0.02)


def test_a_checkpoint_of_before_there_were_manners_is_gone_on_from(train, recorder, tmp_path):
    train(folder=tmp_path, reporter=recorder(stop_at=1))
    file = tmp_path / "epoch-00001" / "state.json"
    body = json.loads(file.read_text())["body"]
    del body["extra"]["run"]["manner"]
    digest = hashlib.sha256(canonical_json(body).encode()).hexdigest()
    file.write_text(json.dumps({"body": body, "sha256": digest}))
    assert train(folder=tmp_path)[0].losses == train()[0].losses
    with pytest.raises(TrialError, match="manner was"):
        train(folder=tmp_path, manner=Manner(layout="contiguous"))


def test_free_settings_may_change(train, tmp_path):
    train(folder=tmp_path)
    assert train(folder=tmp_path, loader_workers=1)[0].epochs == 3


def test_checkpoint_of_another_model_is_refused(train, tiny_net, tmp_path):
    train(folder=tmp_path)
    with pytest.raises(TrialError, match="of another model"):
        train(folder=tmp_path, net=tiny_net(width=5))


def test_model_and_random_state_are_given_back(train, tiny_net):
    net = tiny_net(norm=True).eval()
    net.head.weight.requires_grad_(requires_grad=False)
    frozen = net.head.weight.clone()
    state = torch.get_rng_state()
    train(net=net)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not net.head.weight.requires_grad
    assert torch.equal(net.head.weight, frozen)


def test_training_happens_in_channels_last_and_training_mode(train, supervised, tiny_net):
    seen = []

    class Looks(nn.Module):
        def forward(self, model, images, target):
            weight = model.body.weight
            seen.append(
                images.is_contiguous(memory_format=torch.channels_last)
                and weight.is_contiguous(memory_format=torch.channels_last)
                and model.training
                and images.dtype == torch.float32
            )
            return supervised(model, images, target)

    train(net=tiny_net().eval(), loss=Looks())
    assert seen == [True] * 6


def test_parameters_of_the_loss_are_trained_and_continued(train, recorder, tmp_path):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset = nn.Parameter(torch.ones(1))

        def forward(self, model, images, target):
            return (model(images) + self.offset).square().mean()

    undisturbed = Scaled()
    expected, _, _ = train(loss=undisturbed)
    assert undisturbed.offset.item() != 1
    with pytest.raises(KeyboardInterrupt):
        train(loss=Scaled(), folder=tmp_path, reporter=recorder(raise_at=2))
    continued = Scaled()
    result, _, _ = train(loss=continued, folder=tmp_path)
    assert result.losses == expected.losses
    assert torch.equal(continued.offset, undisturbed.offset)


def test_gradients_are_clipped(train, supervised, tiny_net):
    """A step of SGD moves by at most the learning rate times 1.9 times the bound."""
    net = tiny_net()
    start = copy.deepcopy(net)
    changes = {"optimizer": "sgd", "weight_decay": 0.0, "warmup_epochs": 0.0, "epochs": 1}
    train(net=net, batch_size=10, clip_norm=1e-3, **changes)
    before, after = (
        torch.cat([p.detach().flatten() for p in module.parameters()]) for module in (start, net)
    )
    assert (after - before).norm().item() == pytest.approx(1.9 * 1e-2 * 1e-3, rel=1e-3)


def test_times_add_up_over_a_continued_run(train, recorder, tmp_path):
    result, _, _ = train(folder=tmp_path, reporter=recorder(stop_at=2))
    assert 0 < result.step_seconds <= result.train_seconds
    assert result.train_seconds + result.evaluation_seconds <= result.total_seconds
    continued, _, _ = train(folder=tmp_path)
    for name in ("step_seconds", "train_seconds", "evaluation_seconds", "total_seconds"):
        assert getattr(continued, name) > getattr(result, name)


def test_checkpoints_hold_no_pickle(train, tmp_path):
    train(folder=tmp_path)
    own = tmp_path / "epoch-00003"
    assert {path.name for path in own.iterdir()} == {
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    }
    json.loads((own / "state.json").read_text())


def test_result_is_frozen(train):
    with pytest.raises(dataclasses.FrozenInstanceError):
        train(epochs=1)[0].epochs = 2


def test_unknown_optimizer_is_told(train):
    with pytest.raises(UsageError, match="optimizer"):
        train(optimizer="lamb")
