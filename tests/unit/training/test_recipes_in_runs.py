"""The options of a recipe in whole runs: what they do, and that a run goes on as if undisturbed."""

import dataclasses
import json

import pytest
import torch

from automl.errors import TrialError
from automl.records import canonical_json
from automl.training.checkpoint import _text_digest, load_checkpoint
from automl.training.deep_supervision import DeepSupervision
from automl.training.evaluation import evaluate
from automl.training.loop import fit, prepared
from automl.training.losses import CombinedLoss
from automl.training.recipe import EarlyStop, Recipe

RECIPES = {
    "average": Recipe(ema_decay=0.9),
    "self-taught": Recipe(ema_decay=0.9, ema_distillation=0.5),
    "frozen": Recipe(freeze_epochs=1),
    "layers": Recipe(encoder_lr_factor=0.5, layer_decay=0.7),
    "plateau": Recipe(schedule="plateau"),
    "all": Recipe(
        schedule="one_cycle",
        freeze_epochs=2,
        ema_decay=0.95,
        ema_distillation=1.0,
        layer_decay=0.8,
        encoder_lr_factor=0.3,
    ),
}


def deep():
    return DeepSupervision(
        CombinedLoss(0.5, 2.0), weight=0.4, map_channels=(4, 6, 8), num_classes=3, seed=0
    )


@pytest.fixture
def train(dataset, staged_net, supervised, settings_for, recorder):
    def run(*, folder=None, reporter=None, loss=None, **changes):
        net = staged_net()
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


def same(one, other):
    pairs = zip(one.state_dict().items(), other.state_dict().values(), strict=True)
    return all(torch.equal(value, twin) for (_, value), twin in pairs)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_run_that_was_cut_short_goes_on_as_if_undisturbed(train, recorder, tmp_path, name, epoch):
    changes = {"epochs": 5, "recipe": RECIPES[name]}
    expected, one, heard = train(loss=deep(), **changes)
    with pytest.raises(KeyboardInterrupt):
        train(folder=tmp_path, reporter=recorder(raise_at=epoch), loss=deep(), **changes)
    result, other, heard_again = train(folder=tmp_path, loss=deep(), **changes)
    assert result.losses == expected.losses
    assert heard_again == heard[epoch - 1 :]
    assert same(one, other)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_changes_the_training(train, name):
    _, _, heard = train(epochs=5)
    _, _, other = train(epochs=5, recipe=RECIPES[name])
    assert heard != other


def test_the_average_is_what_is_scored_kept_and_given_back(train, dataset, settings_for, tmp_path):
    result, net, _ = train(folder=tmp_path, recipe=RECIPES["average"])
    settings = settings_for().for_evaluation(world_size=1)
    found = evaluate(net, dataset.split("val"), num_classes=3, settings=settings)
    assert found.scores == result.scores
    kept = load_checkpoint(tmp_path, torch.device("cpu"))
    for name, value in net.state_dict().items():
        assert torch.equal(kept.model_state[name], value), name
    plain, live, _ = train()
    assert plain.losses == result.losses
    for name, value in live.state_dict().items():
        assert torch.equal(kept.live_state[name], value), name
    assert not same(live, net)


def test_the_average_lags_behind_by_the_definition(
    dataset, staged_net, supervised, settings_for, recorder
):
    settings = settings_for(epochs=2, recipe=Recipe(ema_decay=0.7))
    with prepared(staged_net(), dataset, settings, step_loss=supervised) as run:
        history = []
        honest = run.stepper.average.update

        def update(model, updates):
            history.append(model.head.weight.detach().clone())
            assert updates == len(history) - 1
            honest(model, updates)

        run.stepper.average.update = update
        run.to_the_end(recorder())
        found = run.trained_model.head.weight
    wanted = history[0]
    for updates, weight in enumerate(history):
        decay = min(0.7, updates / (updates + 9))
        wanted = decay * wanted + (1 - decay) * weight
    assert len(history) == 4
    torch.testing.assert_close(found, wanted)


def test_what_rests_does_not_move_and_moves_when_its_turn_comes(
    dataset, staged_net, supervised, settings_for, recorder
):
    net = staged_net()
    first = {name: value.clone() for name, value in net.encoder.state_dict().items()}
    moved = []

    class Watch(recorder):
        def report(self, epoch, metrics):
            now = net.encoder.state_dict()
            moved.append(
                [
                    any(
                        not torch.equal(now[name], value)
                        for name, value in first.items()
                        if name.startswith(f"stages.{stage}.")
                    )
                    for stage in range(3)
                ]
            )
            return super().report(epoch, metrics)

    settings = settings_for(epochs=5, recipe=Recipe(freeze_epochs=2))
    fit(net, dataset, settings, step_loss=supervised, reporter=Watch())
    # Running statistics count, too: nothing of a stage moves before its weights do.
    assert moved == [
        [False, False, False],
        [False, False, False],
        [False, False, True],
        [False, True, True],
        [True, True, True],
    ]
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_a_cut_short_run_gives_back_what_rested(
    dataset, staged_net, supervised, settings_for, recorder
):
    net = staged_net()
    settings = settings_for(recipe=Recipe(freeze_epochs=3))
    fit(net, dataset, settings, step_loss=supervised, reporter=recorder(stop_at=1))
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_rates_of_groups_follow_the_schedule_in_step(dataset, staged_net, supervised, settings_for):
    settings = settings_for(recipe=RECIPES["layers"])
    with prepared(staged_net(), dataset, settings, step_loss=supervised) as run:
        for step in (0, 2, 5):
            run.stepper.set_learning_rate(step)
            rates = {group["lr"] for group in run.stepper.optimizer.param_groups}
            peak = run.stepper.learning_rate(step)
            shares = [0.5 * 0.7**2, 0.5 * 0.7, 0.5, 1.0]
            assert sorted(rates) == pytest.approx([share * peak for share in shares])


def test_flat_scores_lower_the_rate_of_a_plateau(
    dataset, staged_net, supervised, settings_for, recorder, monkeypatch
):
    rates = []
    settings = settings_for(epochs=6, warmup_epochs=0.0, recipe=RECIPES["plateau"])
    with prepared(staged_net(), dataset, settings, step_loss=supervised) as run:
        honest = run._evaluate

        def flat():
            rates.append(run.stepper.optimizer.param_groups[0]["lr"])
            honest()
            run._progress.mious[-1] = 0.3

        monkeypatch.setattr(run, "_evaluate", flat)
        run.to_the_end(recorder())
    assert rates == pytest.approx([1e-2] * 4 + [5e-3] * 2)


def test_a_run_ends_early_and_says_so_again_when_continued(train, tmp_path):
    recipe = Recipe(early_stop=EarlyStop(patience=2, min_delta=1.0))
    result, _, heard = train(folder=tmp_path, epochs=9, recipe=recipe)
    assert (result.epochs, result.stopped) == (3, False)
    assert result.early == "stopped early at epoch 3 of 9, best 1"
    again, _, heard_again = train(folder=tmp_path, epochs=9, recipe=recipe)
    assert (again.epochs, again.early) == (3, result.early)
    assert heard_again == heard[-1:]


def test_a_verdict_comes_before_an_early_end(train, recorder, tmp_path):
    recipe = Recipe(early_stop=EarlyStop(patience=2, min_delta=1.0))
    changes = {"folder": tmp_path, "epochs": 9, "recipe": recipe}
    result, _, _ = train(reporter=recorder(stop_at=3), **changes)
    assert (result.epochs, result.stopped) == (3, True)
    promoted, _, heard = train(**changes)
    assert (promoted.epochs, promoted.stopped) == (3, False)
    assert [epoch for epoch, _ in heard] == [3]


def test_without_a_rule_no_run_ends_early(train):
    assert train()[0].early is None


def test_a_checkpoint_of_the_time_before_recipes_is_gone_on_from(train, recorder, tmp_path):
    expected, one, _ = train()
    train(folder=tmp_path, reporter=recorder(stop_at=2))
    for file in tmp_path.glob("epoch-*/state.json"):
        body = json.loads(file.read_text())["body"]
        del body["extra"]["run"]["recipe"], body["extra"]["progress"]["mious"]
        file.write_text(json.dumps({"body": body, "sha256": _text_digest(canonical_json(body))}))
    result, other, _ = train(folder=tmp_path)
    assert result.losses == expected.losses
    assert same(one, other)


def test_another_recipe_is_another_run(train, recorder, tmp_path):
    train(folder=tmp_path, reporter=recorder(stop_at=1))
    with pytest.raises(TrialError, match=r"of another run .*recipe was"):
        train(folder=tmp_path, recipe=RECIPES["average"])


def test_an_unknown_schedule_is_refused(settings_for):
    with pytest.raises(ValueError, match=r"schedule must be one of cosine, .*got 'cosin'"):
        settings_for(recipe=dataclasses.replace(Recipe(), schedule="cosin"))
