import math
from dataclasses import replace

import pytest
import torch

from automl.data.batching import Batch
from automl.errors import TrialError
from automl.training import steps
from automl.training.optimizers import build_optimizer
from automl.training.precision import resolve_precision
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
            steps_per_epoch=steps_per_epoch,
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
    monkeypatch.setattr(steps, "LOSSES_READ_EVERY", 4)
    # Losses of a GPU are read seldom; the meta device stands for one that is no CPU.
    values = [1.0] * 7
    values[position] = bad
    built = stepper(Scripted([]), steps_per_epoch=7)
    ledger = steps._LossLedger(replace(built, device=torch.device("meta")))

    def read_all():
        for step, value in enumerate(values):
            ledger.add(step, torch.tensor(value))
        return ledger.mean()

    with pytest.raises(TrialError, match=f"the loss is {bad} at step {position + 1} of 21"):
        read_all()


def test_losses_of_a_device_are_read_once_in_many_steps(stepper, monkeypatch):
    reads = []
    monkeypatch.setattr(steps, "sum_over_ranks", lambda losses: reads.append(len(losses)) or losses)
    built = stepper(Scripted([]), steps_per_epoch=70)
    ledger = steps._LossLedger(replace(built, device=torch.device("meta")))
    for step in range(70):
        ledger.add(step, torch.tensor(float(step)))
    assert ledger.mean() == pytest.approx(34.5)
    assert reads == [32, 32, 6]
