"""Epochs on a share of the data, at a smaller size, then on all of it."""

import pytest
import torch
from torch import nn

from automl import fidelity
from automl.errors import TrialError
from automl.fidelity import Fidelity, Stretch
from automl.training.epochs import TrainingEpochs
from automl.training.evaluation import normalise
from automl.training.lone_values import LoneValues
from automl.training.loop import fit, prepared
from automl.training.statistics import STATISTICS_BATCHES, renew_statistics
from automl.training.steps import SupervisedLoss

STEPPED = Fidelity(
    stretches=(
        Stretch(last_epoch=1, data_share=0.4, size_share=0.5),
        Stretch(last_epoch=2, data_share=0.7, size_share=0.5),
        Stretch(last_epoch=4),
    ),
    seed=7,
)
RECIPES = {
    "adamw": {},
    "accumulated": {"optimizer": "sgd", "accumulate": 2, "clip_norm": None},
    "pieces": {"micro_batches": 3},
}


@pytest.fixture(autouse=True)
def _small_sides(monkeypatch):
    """Half of 16 pixels is 8."""
    monkeypatch.setattr(fidelity, "SIDE_UNIT", 4)


@pytest.fixture
def stepped(settings_for):
    def build(**changes):
        return settings_for(
            **{"epochs": 4, "fidelity": STEPPED, "augmentation": "light", **changes}
        )

    return build


@pytest.fixture
def train(dataset, tiny_net, supervised, stepped, recorder):
    def run(*, folder=None, reporter=None, loss=supervised, **changes):
        net = tiny_net(dropout=0.3, norm=True)
        reporter = recorder() if reporter is None else reporter
        result = fit(
            net,
            dataset,
            stepped(**changes),
            step_loss=loss,
            reporter=reporter,
            checkpoint_folder=folder,
        )
        return result, net.state_dict(), reporter.heard

    return run


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_run_that_was_cut_short_around_a_rung_goes_on_as_if_undisturbed(
    train, recorder, tmp_path, recipe, epoch
):
    expected, weights, heard = train(**RECIPES[recipe])
    with pytest.raises(KeyboardInterrupt):
        train(folder=tmp_path, reporter=recorder(raise_at=epoch), **RECIPES[recipe])
    result, again, heard_again = train(folder=tmp_path, **RECIPES[recipe])
    assert result.losses == expected.losses
    assert heard_again == heard[epoch - 1 :]
    assert all(torch.equal(value, again[name]) for name, value in weights.items())


def test_every_epoch_trains_on_as_much_as_it_is_given(train, supervised):
    seen = []

    class Watching(SupervisedLoss):
        def forward(self, model, images_nchw, target_nhw):
            seen.append((tuple(images_nchw.shape), tuple(target_nhw.shape)))
            return super().forward(model, images_nchw, target_nhw)

    train(loss=Watching(supervised.loss))
    small, full = ((4, 3, 8, 8), (4, 8, 8)), ((4, 3, 16, 16), (4, 16, 16))
    # Of 10 images, 4 and 7 make one batch of four.
    assert seen == [small, small, *[full] * 4]


def test_pieces_are_as_many_at_every_size(train, supervised):
    sizes = []

    class Watching(SupervisedLoss):
        def forward(self, model, images_nchw, target_nhw):
            sizes.append(len(images_nchw))
            return super().forward(model, images_nchw, target_nhw)

    train(loss=Watching(supervised.loss), micro_batches=3)
    assert sizes == [2, 1, 1] * 6


def test_stretches_of_all_there_is_change_nothing(train):
    whole = Fidelity(stretches=(Stretch(last_epoch=2), Stretch(last_epoch=4)), seed=3)
    expected, weights, _ = train(fidelity=fidelity.FULL)
    result, same, _ = train(fidelity=whole)
    assert result.losses == expected.losses
    assert all(torch.equal(value, same[name]) for name, value in weights.items())
    assert train()[0].losses != expected.losses


def test_a_checkpoint_of_other_stretches_is_refused(train, recorder, tmp_path):
    train(folder=tmp_path, reporter=recorder(stop_at=1))
    with pytest.raises(TrialError, match="fidelity was"):
        train(folder=tmp_path, fidelity=fidelity.FULL)


def test_stretches_must_end_with_the_run(stepped):
    with pytest.raises(ValueError, match="fidelity must end with epoch 5, got ends"):
        stepped(epochs=5)


@pytest.mark.parametrize(
    ("changes", "steps"), [({}, (1, 1, 2, 2)), ({"batch_size": 2, "accumulate": 2}, (1, 2, 3, 3))]
)
def test_the_schedule_counts_the_steps_of_every_epoch(
    dataset, tiny_net, supervised, stepped, changes, steps
):
    settings = stepped(warmup_epochs=1.5, **changes)
    with prepared(tiny_net(), dataset, settings, step_loss=supervised) as run:
        stepper = run.stepper
    assert stepper.timetable.steps == steps
    rates = [stepper.learning_rate(step) for step in range(sum(steps))]
    peak = stepper.peak_step
    assert rates[peak] == max(rates) == settings.learning_rate
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    with pytest.raises(ValueError, match="step must be within"):
        stepper.learning_rate(sum(steps))


def test_trials_of_all_seeds_and_batch_sizes_see_the_same_share(dataset, stepped):
    def rows(epoch, **changes):
        epochs = TrainingEpochs(dataset.split("train"), stepped(**changes))
        return set(epochs.plan(epoch)._rows.tolist())

    assert rows(0) == rows(0, seed=9) == rows(0, batch_size=2)
    assert len(rows(0)) == 4
    assert rows(0) < rows(1) < rows(2) == set(range(10))
    other = Fidelity(stretches=STEPPED.stretches, seed=8)
    assert rows(1) != rows(1, fidelity=other)


def test_a_share_smaller_than_a_batch_is_a_batch(dataset, stepped):
    epochs = TrainingEpochs(dataset.split("train"), stepped(batch_size=8))
    assert [epochs.plan(epoch).num_rows for epoch in range(3)] == [8, 8, 10]


class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 1), nn.Dropout(0.9), nn.BatchNorm2d(4))


def test_renewed_statistics_are_the_mean_over_the_inputs():
    torch.manual_seed(0)
    model = Normed()
    model(torch.randn(2, 3, 5, 5))
    weights = {name: value.clone() for name, value in model.named_parameters()}
    state = torch.get_rng_state()
    inputs = [torch.randn(4, 3, 6, 6) for _ in range(3)]
    torch.set_rng_state(state)
    renew_statistics(model, inputs, LoneValues())
    assert torch.equal(torch.get_rng_state(), state), "dropout draws nothing"
    with torch.no_grad():
        maps = [model[0](images) for images in inputs]
    means = torch.stack([each.mean((0, 2, 3)) for each in maps]).mean(0)
    assert torch.allclose(model[2].running_mean, means, atol=1e-6)
    assert model[2].momentum == 0.1
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())


def test_statistics_are_renewed_at_full_size_after_epochs_at_a_smaller_one_alone(
    dataset, tiny_net, supervised, stepped, recorder, monkeypatch
):
    seen = []

    def watching(model, inputs, lone_values):
        inputs = list(inputs)
        seen.append([tuple(images.shape[2:]) for images in inputs])
        renew_statistics(model, inputs, lone_values)

    monkeypatch.setattr("automl.training.steps.renew_statistics", watching)
    net, settings = tiny_net(norm=True), stepped(batch_size=1)
    fit(net, dataset, settings, step_loss=supervised, reporter=recorder(stop_at=2))
    assert [len(each) for each in seen] == [4, 7]
    assert {size for each in seen for size in each} == {(16, 16)}
    plan = TrainingEpochs(dataset.split("train"), settings).plan(1)
    with torch.no_grad():
        means = torch.stack(
            [
                net.body(normalise(batch.images_nhwc, settings.normalisation)).mean((0, 2, 3))
                for batch in plan.some_batches(STATISTICS_BATCHES)
            ]
        ).mean(0)
    assert torch.allclose(net.norm.running_mean, means, atol=1e-5)
    fit(net, dataset, stepped(), step_loss=supervised, reporter=recorder())
    assert len(seen) == 2 + 2
