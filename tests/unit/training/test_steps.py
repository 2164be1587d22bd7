import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.amp import GradScaler

from automl.data.batching import Batch
from automl.errors import TrialError
from automl.training import ledger
from automl.training.optimizers import build_optimizer
from automl.training.precision import resolve_precision
from automl.training.schedules import Timetable
from automl.training.steps import Stepper, TrainingStep

CPU = torch.device("cpu")


@pytest.fixture
def stepper(settings_for, tiny_net):
    def build(loss, *, steps_per_epoch, **changes):
        settings = settings_for(**changes)
        module = TrainingStep(tiny_net(), loss)
        precision = resolve_precision("fp32", CPU)
        return Stepper(
            step_module=module,
            optimizer=build_optimizer(module, "sgd", 0.1, 0.0),
            scaler=precision.grad_scaler(),
            precision=precision,
            settings=settings,
            device=CPU,
            timetable=Timetable((steps_per_epoch,) * settings.epochs),
        )

    return build


def batches(count):
    images = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    return [Batch(images_nhwc=images, masks_nhw=torch.zeros(1, 4, 4).long())] * count


class Scripted:
    """A loss that takes the given values, call after call."""

    def __init__(self, values):
        self.values = iter(values)

    def __call__(self, model, images, target):
        return model(images).sum() * 0 + next(self.values)


def test_mean_loss_is_over_steps_of_mean_losses_over_groups(stepper):
    built = stepper(Scripted([1.0, 3.0, 5.0, 7.0, 10.0]), steps_per_epoch=3, accumulate=2)
    loss, _ = built.run_epoch(batches(5), epoch=0)
    assert loss == pytest.approx((2 + 6 + 10) / 3)


def test_learning_rate_follows_the_schedule_over_the_whole_run(stepper):
    built = stepper(Scripted([1.0] * 4), steps_per_epoch=4, epochs=2, warmup_epochs=0.5)
    built.run_epoch(batches(4), epoch=1)
    rates = [built.learning_rate(step) for step in range(8)]
    assert rates[:2] == pytest.approx([0.005, 0.01])
    assert rates[-1] == pytest.approx(1e-4)
    assert built.optimizer.param_groups[0]["lr"] == rates[-1]


def test_warm_up_takes_at_most_half_of_a_run(stepper):
    built = stepper(Scripted([]), steps_per_epoch=8, epochs=1, warmup_epochs=5.0)
    rates = [built.learning_rate(step) for step in range(8)]
    assert rates.index(max(rates)) in (3, 4)
    assert rates[-1] == pytest.approx(1e-4)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("position", [0, 3, 6])
def test_losses_read_seldom_still_name_the_first_bad_step(stepper, monkeypatch, bad, position):
    monkeypatch.setattr(ledger, "LOSSES_READ_EVERY", 4)
    # Losses of a GPU are read seldom; the meta device stands for one that is no CPU.
    values = [1.0] * 7
    values[position] = bad
    built = stepper(Scripted([]), steps_per_epoch=7)
    built_ledger = ledger.LossLedger(replace(built, device=torch.device("meta")))

    def read_all():
        for step, value in enumerate(values):
            built_ledger.add(step, torch.tensor(value), torch.tensor(1.0))
        return built_ledger.mean()

    with pytest.raises(TrialError, match=f"the loss is {bad} at step {position + 1} of 21"):
        read_all()


def test_losses_of_a_device_are_read_once_in_many_steps(stepper, monkeypatch):
    reads = []
    monkeypatch.setattr(
        ledger, "sum_over_ranks", lambda losses: reads.append(len(losses)) or losses
    )
    built = stepper(Scripted([]), steps_per_epoch=70)
    built_ledger = ledger.LossLedger(replace(built, device=torch.device("meta")))
    for step in range(70):
        built_ledger.add(step, torch.tensor(float(step)), torch.tensor(0.0))
    assert built_ledger.mean() == pytest.approx(34.5)
    assert reads == [32, 32, 6]


def test_a_gradient_that_is_not_finite_is_told_with_its_step(stepper):
    built_ledger = ledger.LossLedger(stepper(Scripted([]), steps_per_epoch=3))
    built_ledger.add(0, torch.tensor(1.0), torch.tensor(2.0))
    with pytest.raises(TrialError, match=r"gradient's norm is inf at step 2 of 9 .*learning rate"):
        built_ledger.add(1, torch.tensor(1.0), torch.tensor(math.inf))


class Overflowing(nn.Module):
    """A loss whose gradients overflow in the first `skipped` steps, as those of fp16 may."""

    def __init__(self, skipped):
        super().__init__()
        self.skipped = skipped

    def forward(self, model, images, target):
        loss = model(images).square().mean()
        self.skipped -= 1
        if self.skipped >= 0:
            loss.register_hook(lambda gradient: gradient * math.inf)
        return loss


@pytest.fixture
def scaled(stepper):
    """A stepper that scales its losses, as in fp16, which a CPU cannot train in."""

    def build(loss, *, steps_per_epoch):
        built = stepper(loss, steps_per_epoch=steps_per_epoch, learning_rate=1e-3)
        # The fused SGD, which CUDA does not get, breaks on skipped steps.
        optimizer = build_optimizer(built.step_module, "adamw", 1e-3, 0.0)
        return replace(built, optimizer=optimizer, scaler=GradScaler("cpu", init_scale=2.0**16))

    return build


def test_steps_that_a_loss_scaler_skips_are_no_divergence(scaled):
    built = scaled(Overflowing(3), steps_per_epoch=5)
    before = built.step_module.model.head.weight.detach().clone()
    loss, _ = built.run_epoch(batches(5), epoch=0)
    assert math.isfinite(loss)
    assert built.scaler.get_scale() == 2.0**13
    assert all(bool(value.isfinite().all()) for value in built.step_module.state_dict().values())
    assert not torch.equal(before, built.step_module.model.head.weight)


def test_gradients_that_overflow_at_every_scale_are_told(scaled):
    built = scaled(Overflowing(40), steps_per_epoch=40)
    with pytest.raises(TrialError, match=r"no scale of the loss is left .* at step 33 of 120"):
        built.run_epoch(batches(40), epoch=0)


def test_a_scaled_loss_that_is_not_finite_is_told_all_the_same(scaled):
    built = scaled(Scripted([1.0, math.nan]), steps_per_epoch=2)
    with pytest.raises(TrialError, match=r"the loss is nan at step 2 of 6"):
        built.run_epoch(batches(2), epoch=0)


@pytest.mark.parametrize("warmup_epochs", [0.0, 0.4, 1.0, 5.0])
@pytest.mark.parametrize("steps_per_epoch", [1, 2, 7])
def test_the_peak_step_learns_fastest(stepper, steps_per_epoch, warmup_epochs):
    built = stepper(
        Scripted([]), steps_per_epoch=steps_per_epoch, epochs=3, warmup_epochs=warmup_epochs
    )
    rates = [built.learning_rate(step) for step in range(3 * steps_per_epoch)]
    assert rates[built.peak_step] == max(rates) == built.settings.learning_rate
