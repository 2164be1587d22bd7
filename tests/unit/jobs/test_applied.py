"""A planted fault for each parameter: the trial fails, naming that parameter alone."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.utils import clip_grad_norm_

from automl import fidelity
from automl.compression.prune import prune
from automl.data import augment
from automl.data.augment import POLICIES
from automl.data.batching import EpochPlan
from automl.data.subset import Subsets
from automl.data.threads import OfEachThread
from automl.fidelity import Fidelity, Stretch
from automl.jobs import beginning, network, trainee, trial
from automl.jobs import settings as job_settings
from automl.jobs.applied import PROOFS, verify_applied
from automl.jobs.applied_recipe import other_schedule, other_warmup
from automl.jobs.applied_steps import OPTIMIZERS
from automl.jobs.context import torch_threads
from automl.jobs.live import Live, Sample
from automl.jobs.network import build_network
from automl.jobs.settings import deeply_supervised, fit_settings, supervised_loss
from automl.jobs.trial import run_trial
from automl.models import build, encoders
from automl.models.build import build_model
from automl.models.decoders import DECODERS
from automl.models.initialisation import redraw
from automl.models.reading import decoder_channels_in, decoder_in, encoder_in
from automl.records import ModelSpec, TrialStatus
from automl.space.declared import step_options
from automl.space.parameter_table import PARAMETERS
from automl.space.parameters import DECLARED_IN_TRAIN, TrialParameters
from automl.space.training import TrainSettings
from automl.training import epochs, loop, steps
from automl.training.epochs import batch_settings
from automl.training.layers import EncoderLayers
from automl.training.loop import Run, prepared
from automl.training.losses import CombinedLoss
from automl.training.optimizers import build_optimizer
from automl.training.precision import resolve_precision
from automl.training.schedules import Timetable
from automl.training.self_distillation import Tutor
from automl.training.shapes import SHAPES
from automl.training.steps import Stepper, SupervisedLoss

BASE = TrialParameters(encoder="mobilenetv3_small_050", decoder_width=16, batch_size=4)


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    """Costs without a measurement."""
    monkeypatch.setattr(trial, "measure_costs", lambda _config, _context: ())


def building(**changes):
    """Build another network than the one that was asked for."""

    def plant(patch):
        def other(spec, *, seed, **given):
            return build_model(replace(spec, **changes), seed=seed, **given)

        patch.setattr(network, "build_model", other)

    return plant


def pruning(ratio_of):
    def plant(patch):
        def other(model, example, ratio):
            return prune(model, example, ratio_of(ratio))

        patch.setattr(network, "prune", other)

    return plant


def losing(**changes):
    """Train with another loss."""

    def plant(patch):
        def other(params, info):
            loss = supervised_loss(params, info).loss
            values = {"alpha": loss.alpha, "gamma": loss.gamma, "class_weights": loss.class_weights}
            options = {name: value for name, value in changes.items() if name not in values}
            values |= {name: value for name, value in changes.items() if name in values}
            return SupervisedLoss(CombinedLoss(**values, options=replace(loss.options, **options)))

        patch.setattr(beginning, "supervised_loss", other)

    return plant


def optimizing(**changes):
    """Build another optimizer."""

    def plant(patch):
        def other(model, name, lr, weight_decay, lr_share):
            asked = {"name": name, "lr": lr, "weight_decay": weight_decay, "lr_share": lr_share}
            return build_optimizer(model, **{**asked, **changes})

        patch.setattr(loop, "build_optimizer", other)

    return plant


def decaying_everything(patch):
    def other(model, name, lr, weight_decay, lr_share):
        built = build_optimizer(model, name, lr, weight_decay, lr_share)
        for group in built.param_groups:
            group["weight_decay"] = weight_decay
        return built

    patch.setattr(loop, "build_optimizer", other)


def forgetting_the_head(patch):
    def other(model, name, lr, weight_decay, lr_share):
        built = build_optimizer(model, name, lr, weight_decay, lr_share)
        built.param_groups[-1]["params"].pop()
        return built

    patch.setattr(loop, "build_optimizer", other)


def recipe(**changes):
    """Train by another recipe."""

    def plant(patch):
        def other(*given, **named):
            settings = fit_settings(*given, **named)
            return replace(settings, recipe=replace(settings.recipe, **changes))

        patch.setattr(trainee, "fit_settings", other)

    return plant


def stepping(**changes):
    """Train with other options of the steps."""

    def plant(patch):
        def other(*given, **named):
            return replace(fit_settings(*given, **named), **changes)

        patch.setattr(trainee, "fit_settings", other)

    return plant


def declaring_wins(patch):
    """Let what is declared hold, whatever was sampled."""

    def other(params, train):
        return step_options(replace(params, **dict.fromkeys(DECLARED_IN_TRAIN)), train)

    patch.setattr(job_settings, "step_options", other)


def stepping_with_each_batch(patch):
    patch.setattr(Stepper, "groups", lambda _self, batches: ([batch] for batch in batches))


def planning_a_step_a_batch(patch):
    honest = epochs.TrainingEpochs.timetable.func

    def other(self):
        planned = honest(self).steps
        return Timetable(tuple(steps * self._settings.accumulate for steps in planned))

    patch.setattr(epochs.TrainingEpochs, "timetable", property(other))


def never_clipping(patch):
    patch.setattr(Stepper, "clip_gradients", lambda _self: torch.zeros(()))


def clipping_each_by_itself(patch):
    def other(self):
        parameters = self.step_module.parameters()
        norms = [clip_grad_norm_(p, self.settings.clip_norm) for p in parameters]
        return torch.stack(norms).norm()

    patch.setattr(Stepper, "clip_gradients", other)


def warming_up_at_the_peak(patch):
    """Learn at the full rate from the first step on, whatever the settings say."""
    patch.setattr(Stepper, "_warmup_steps", property(lambda self: self.timetable.warmup_steps(0.0)))


SELF_TAUGHT = {"ema_decay": 0.99, "ema_distillation": 0.5}


def teaching_by_the_weights(patch):
    """Let a network that is not the average teach."""
    patch.setattr(steps, "Tutor", lambda model, weight: Tutor(copy.deepcopy(model), weight))


def teaching_from_the_start(patch):
    patch.setattr(steps, "teaches_from", lambda _total: 0)


def redrawing(kind):
    """Draw the weights in another way; None leaves them."""

    def plant(patch):
        patch.setattr(
            network, "redraw", lambda part, _kind, seed: kind and redraw(part, kind, seed)
        )

    return plant


def drawing_unasked(patch):
    def other(spec, *, seed, **given):
        model = build_model(spec, seed=seed, **given)
        redraw(model.decoder, "orthogonal", seed)
        return model

    patch.setattr(network, "build_model", other)


def forgetting_the_prior(patch):
    patch.setattr(network, "prior_bias", lambda _head, _shares: None)


def biasing(patch):
    def other(spec, **given):
        model = build_model(spec, **given)
        torch.nn.init.constant_(model.head.bias[:1], 3.0)
        return model

    patch.setattr(network, "build_model", other)


def ignoring_flat_scores(patch):
    patch.setattr(loop, "level_after", lambda _schedule, _scores: 1.0)


def freezing_nothing(patch):
    patch.setattr(EncoderLayers, "freeze", lambda _self, _epoch, _epochs: False)


def scoring_the_weights(patch):
    patch.setattr(Run, "trained_model", property(lambda self: self.module.model))


def without_heads(patch):
    patch.setattr(beginning, "deeply_supervised", lambda loss, *_: loss)


def heads_of_half_weight(patch):
    def other(loss, model, params, info, seed):
        half = replace(params, deep_supervision=params.deep_supervision / 2)
        return deeply_supervised(loss, model, half, info, seed)

    patch.setattr(beginning, "deeply_supervised", other)


def batching(**changes):
    """Walk through the split with other settings."""

    def plant(patch):
        patch.setattr(
            epochs, "batch_settings", lambda settings: replace(batch_settings(settings), **changes)
        )

    return plant


def augmenting(policy):
    def plant(patch):
        other = OfEachThread(lambda: pipeline_of(policy))
        patch.setattr(augment, "OfEachThread", lambda _build: other)

    return plant


def pipeline_of(policy):
    import albumentations

    return albumentations.Compose(POLICIES[policy](255), is_check_shapes=False)


def learning_at_half_speed(patch):
    honest = Stepper.learning_rate
    patch.setattr(Stepper, "learning_rate", lambda self, step: honest(self, step) / 2)


def never_mixing(patch):
    patch.setattr(EpochPlan, "_mixing", lambda _self, _name, _number: None)


def drawing_at_random(patch):
    patch.setattr(EpochPlan, "_ordered", lambda _self, rows: rows[[0] * len(rows)])


def ignoring_the_file(patch):
    patch.setattr(build, "_load_given_weights", lambda _encoder, _spec: None)


def downloading_nothing(patch):
    honest = encoders._create

    def other(*given, pretrained=False):
        del pretrained
        return honest(*given)

    patch.setattr(encoders, "_create", other)


def bringing_weights(patch):
    def other(spec, *, seed, **given):
        return build_model(spec, seed=seed + 1, **given)

    patch.setattr(network, "build_model", other)


#: Parameter, what is sampled of it and beside it, and how it comes to be ignored.
FAULTS = {
    "encoder": ({"encoder": "mobilenetv3_small_075"}, building(encoder="mobilenetv3_small_050")),
    "encoder, other family": ({"encoder": "resnet18"}, building(encoder="mobilenetv3_small_050")),
    "decoder": ({"decoder": "unet"}, building(decoder="fpn_lite")),
    "decoder, pruned": ({"decoder": "fpn", "pruning_ratio": 0.5}, building(decoder="unet")),
    "decoder_width": ({"decoder_width": 64}, building(decoder_width=32)),
    "decoder_width, of unet": ({"decoder": "unet"}, building(decoder_width=32)),
    "decoder_width, pruned": (
        {"decoder_width": 64, "pruning_ratio": 0.5},
        building(decoder_width=32),
    ),
    "pretrained, no download": ({"pretrained": True}, downloading_nothing),
    "pretrained, no file": ({"pretrained": "FILE"}, ignoring_the_file),
    "pretrained, no file, pruned": (
        {"pretrained": "FILE", "pruning_ratio": 0.5},
        ignoring_the_file,
    ),
    "pretrained, unasked": ({"pretrained": False}, bringing_weights),
    "pruning_ratio": ({"pruning_ratio": 0.5}, pruning(lambda _ratio: 0.0)),
    "pruning_ratio, wide": (
        {"pruning_ratio": 0.5, "decoder_width": 64},
        pruning(lambda _ratio: 0.0),
    ),
    "pruning_ratio, halved": (
        {"pruning_ratio": 0.5, "decoder_width": 64},
        pruning(lambda ratio: ratio / 2),
    ),
    "pruning_ratio, unasked": ({"pruning_ratio": 0.0}, pruning(lambda _ratio: 0.3)),
    "alpha": ({"alpha": 0.9}, losing(alpha=0.5)),
    "gamma": ({"gamma": 0.0}, losing(gamma=2.0)),
    "class_weights": ({"class_weights": "balanced"}, losing(class_weights=None)),
    "class_weights, all one": (
        {"class_weights": "balanced"},
        losing(class_weights=torch.ones(3)),
    ),
    "class_weights, of another kind": (
        {"class_weights": "effective"},
        losing(class_weights=torch.tensor([0.9, 2.0, 6.0])),
    ),
    "region_loss": ({"region_loss": "lovasz"}, losing(region_loss="dice")),
    "region_loss, unasked": ({}, losing(region_loss="generalised_dice")),
    "label_smoothing": ({"label_smoothing": 0.1}, losing(label_smoothing=0.0)),
    "ohem_share": ({"ohem_share": 0.25}, losing(ohem_share=1.0)),
    "boundary_weight": ({"boundary_weight": 5.0}, losing(boundary_weight=0.0)),
    "class_weights, unasked": ({}, losing(class_weights=torch.tensor([0.5, 2.0, 3.0]))),
    "augmentation": ({"augmentation": "strong"}, augmenting("light")),
    "augmentation, none": ({"augmentation": "medium"}, batching(augmentation="none")),
    "augmentation, unasked": ({"augmentation": "none"}, batching(augmentation="light")),
    "cutmix": ({"cutmix": 0.5}, never_mixing),
    "cutmix, not passed on": ({"cutmix": 0.5}, batching(cutmix=0.0)),
    "cutmix, unasked": ({"cutmix": 0.0}, batching(cutmix=0.1)),
    "classmix": ({"classmix": 0.5}, never_mixing),
    "classmix, not passed on": ({"classmix": 0.5}, batching(classmix=0.0)),
    "copy_paste": ({"copy_paste": 0.5}, never_mixing),
    "copy_paste, as another": ({"copy_paste": 0.5}, batching(copy_paste=0.05)),
    "mixup": ({"mixup": 0.5}, never_mixing),
    "mixup, unasked": ({"mixup": 0.0}, batching(mixup=0.1)),
    "augmentation, trivial": ({"augmentation": "trivial"}, augmenting("light")),
    "oversample": ({"oversample": "effective"}, batching(oversample="none")),
    "oversample, unasked": ({}, batching(oversample="effective")),
    "oversample, twice the same": ({}, drawing_at_random),
    "optimizer": ({"optimizer": "sgd"}, optimizing(name="adamw")),
    "optimizer, lion": ({"optimizer": "lion"}, optimizing(name="sgd")),
    "optimizer, incomplete": ({}, forgetting_the_head),
    "schedule": ({"schedule": "polynomial"}, recipe(schedule="cosine")),
    "schedule, one cycle": ({"schedule": "one_cycle"}, recipe(schedule="cosine")),
    "schedule, restarts": ({"schedule": "cosine_restarts"}, recipe(schedule="cosine")),
    "schedule, deaf": ({"schedule": "plateau"}, ignoring_flat_scores),
    "schedule, flat": ({"schedule": "plateau"}, recipe(schedule="constant")),
    "schedule, unasked": ({}, recipe(schedule="constant")),
    "warmup_epochs": ({"warmup_epochs": 1.0}, stepping(warmup_epochs=0.0)),
    "warmup_epochs, none": ({"warmup_epochs": 0.0}, stepping(warmup_epochs=1.0)),
    "warmup_epochs, a step more": ({"warmup_epochs": 0.5}, stepping(warmup_epochs=1.0)),
    "warmup_epochs, a step less": ({"warmup_epochs": 1.0}, stepping(warmup_epochs=0.5)),
    "warmup_epochs, as declared": ({"warmup_epochs": 0.0}, declaring_wins),
    "warmup_epochs, said only": ({"warmup_epochs": 1.0}, warming_up_at_the_peak),
    "warmup_epochs, of a schedule": (
        {"warmup_epochs": 1.0, "schedule": "polynomial", "learning_rate": 0.02},
        stepping(warmup_epochs=0.0),
    ),
    "encoder_lr_factor": ({"encoder_lr_factor": 0.1}, recipe(encoder_lr_factor=1.0)),
    "encoder_lr_factor, other": (
        {"encoder_lr_factor": 0.1, "layer_decay": 0.8},
        recipe(encoder_lr_factor=0.2),
    ),
    "encoder_lr_factor, unasked": ({}, recipe(encoder_lr_factor=0.5)),
    "layer_decay": ({"layer_decay": 0.7}, recipe(layer_decay=1.0)),
    "layer_decay, other": (
        {"encoder_lr_factor": 0.1, "layer_decay": 0.7},
        recipe(layer_decay=0.8),
    ),
    "layer_decay, unasked": ({}, recipe(layer_decay=0.9)),
    "freeze_epochs": ({"freeze_epochs": 1}, recipe(freeze_epochs=0)),
    "freeze_epochs, said only": ({"freeze_epochs": 2}, freezing_nothing),
    "freeze_epochs, unasked": ({}, recipe(freeze_epochs=1)),
    "ema_decay": ({"ema_decay": 0.99}, recipe(ema_decay=0.0)),
    "ema_decay, other": ({"ema_decay": 0.99}, recipe(ema_decay=0.999)),
    "ema_decay, not scored": ({"ema_decay": 0.99}, scoring_the_weights),
    "ema_decay, unasked": ({}, recipe(ema_decay=0.9)),
    "ema_distillation": (SELF_TAUGHT, recipe(ema_distillation=0.0)),
    "ema_distillation, other": (SELF_TAUGHT, recipe(ema_distillation=0.25)),
    "ema_distillation, unasked": ({"ema_decay": 0.99}, recipe(ema_distillation=0.5)),
    "ema_distillation, by the weights": (SELF_TAUGHT, teaching_by_the_weights),
    "ema_distillation, from the start": (SELF_TAUGHT, teaching_from_the_start),
    "deep_supervision": ({"deep_supervision": 0.4}, without_heads),
    "deep_supervision, half": ({"deep_supervision": 0.4}, heads_of_half_weight),
    "init": ({"init": "xavier"}, redrawing(None)),
    "init, other": ({"init": "orthogonal"}, redrawing("kaiming")),
    "init, unasked": ({}, drawing_unasked),
    "init, pruned": ({"init": "kaiming", "pruning_ratio": 0.5}, redrawing("xavier")),
    "init, beside a file": ({"init": "xavier", "pretrained": "FILE"}, redrawing(None)),
    "head_bias": ({"head_bias": "prior"}, forgetting_the_prior),
    "head_bias, unasked": ({}, biasing),
    "learning_rate, of a schedule": (
        {"schedule": "one_cycle", "encoder_lr_factor": 0.1},
        learning_at_half_speed,
    ),
    "learning_rate": ({"learning_rate": 0.02}, learning_at_half_speed),
    "weight_decay": ({"weight_decay": 0.05}, optimizing(weight_decay=0.0)),
    "weight_decay, of biases": ({"weight_decay": 0.05}, decaying_everything),
    "batch_size": ({"batch_size": 4}, batching(batch_size=2)),
    "accumulate": ({"accumulate": 2}, stepping(accumulate=1)),
    "accumulate, other": ({"accumulate": 2}, stepping(accumulate=3)),
    "accumulate, none": ({"accumulate": 1}, stepping(accumulate=2)),
    "accumulate, as declared": ({"accumulate": 2}, declaring_wins),
    "accumulate, said only": ({"accumulate": 2}, stepping_with_each_batch),
    "accumulate, not planned": ({"accumulate": 2}, planning_a_step_a_batch),
    "clip_norm": ({"clip_norm": 0.5}, stepping(clip_norm=None)),
    "clip_norm, other": ({"clip_norm": 0.5}, stepping(clip_norm=1.0)),
    "clip_norm, none": ({"clip_norm": "none"}, stepping(clip_norm=1e6)),
    "clip_norm, as declared": ({"clip_norm": 0.5}, declaring_wins),
    "clip_norm, said only": ({"clip_norm": 0.5}, never_clipping),
    "clip_norm, of each tensor": ({"clip_norm": 0.5}, clipping_each_by_itself),
}


@pytest.fixture
def sampled(dataset, tmp_path):
    """The values of a fault's sample, with a real file of weights where one is named."""

    def fill(values):
        if values.get("pretrained") != "FILE":
            return values
        file = tmp_path / "weights.safetensors"
        given = build_network(BASE, dataset.info, seed=77)
        save_file(given.encoder.model.state_dict(), file)
        return {**values, "pretrained": str(file)}

    return fill


def test_every_parameter_has_a_proof_and_every_proof_a_fault():
    assert set(PROOFS) == set(PARAMETERS)
    assert {fault.split(",")[0] for fault in FAULTS} == set(PARAMETERS)
    assert set(OPTIMIZERS) == set(PARAMETERS["optimizer"].options)


@pytest.mark.parametrize("fault", FAULTS)
def test_an_ignored_parameter_fails_the_trial_by_its_name(
    fault, sampled, context, config, recorder, monkeypatch
):
    values, plant = FAULTS[fault]
    plant(monkeypatch)
    heard = recorder()
    run_trial(config(**sampled(values)), context(), heard)
    end = heard.messages[-1]
    assert heard.kinds == ["costs", "end"], end.reason
    assert end.status is TrialStatus.FAILED
    name = fault.split(",")[0]
    assert end.reason.startswith(f"TrialError: without effect: {name}: sampled "), end.reason
    assert ", live " in end.reason
    assert "; " not in end.reason


@pytest.mark.parametrize(
    ("train", "changes", "told"),
    [
        (
            {"warmup_epochs": 1},
            {"warmup_epochs": 0.0},
            "warmup_epochs: declared 1.0, live at step 1 of 4 a rate 3.883 times that of step 3",
        ),
        ({}, {"accumulate": 2}, "accumulate: declared 1, live 2 batches a step"),
        ({"clip_norm": 3}, {"clip_norm": 1.0}, "clip_norm: declared 3.0, live a norm of 1"),
        ({"clip_norm": "none"}, {"clip_norm": 2.0}, "clip_norm: declared none, live a norm of 2"),
        ({}, {"clip_norm": None}, "clip_norm: declared 1.0, live no bound"),
    ],
)
def test_a_declared_option_of_the_steps_without_effect_is_named(
    train, changes, told, context, config, recorder
):
    heard = recorder()
    with pytest.MonkeyPatch.context() as patch:
        stepping(**changes)(patch)
        run_trial(config(), context(train={"epochs": 2, "device": "cpu", **train}), heard)
    reason = heard.messages[-1].reason
    assert reason.startswith(f"TrialError: without effect: train.{told}")
    assert "; " not in reason


def test_the_proof_of_a_schedule_asks_the_sample_for_the_warm_up(dataset):
    """A stepper whose settings and rates agree on another warm-up is no proof of the sampled."""
    live = prove(replace(BASE, warmup_epochs=1.0), dataset)
    lie = replace(live.run.stepper.settings, warmup_epochs=0.0)
    live.run.stepper.settings = lie
    assert other_schedule(live) is not None
    assert other_warmup(live) is not None


def test_no_gradient_is_left_of_the_proof_of_clipping(dataset):
    run = prove(replace(BASE, clip_norm=0.5, deep_supervision=0.4), dataset).run
    assert all(parameter.grad is None for parameter in run.module.parameters())


@pytest.mark.parametrize("clip_norm", [1e-6, 3.0, 1e30, "none"])
def test_bounds_of_any_size_pass(clip_norm, dataset):
    prove(replace(BASE, clip_norm=clip_norm), dataset)


@pytest.mark.parametrize("schedule", SHAPES)
@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_any_warm_up_with_any_schedule_and_accumulation_passes(schedule, epochs, dataset):
    train = TrainSettings(epochs=epochs, device="cpu")
    for warmup, accumulate in ((0.0, 1), (0.3, 1), (1.0, 2), (2.5, 1), (50.0, 3)):
        params = replace(BASE, batch_size=3, schedule=schedule, warmup_epochs=warmup)
        prove(replace(params, accumulate=accumulate), dataset, train=train)


@pytest.mark.parametrize("fault", [name for name in FAULTS if "download" not in name])
def test_the_same_samples_pass_where_nothing_is_ignored(fault, sampled, dataset):
    params = replace(BASE, **sampled(FAULTS[fault][0]))
    prove(params, dataset)


def prove(params, dataset, *, train=None, seed=3):
    train = TrainSettings(epochs=2, device="cpu") if train is None else train
    settings = fit_settings(params, train, normalisation=dataset.info.normalisation, seed=seed)
    sample = Sample(
        params=params,
        seed=seed,
        precision=train.precision,
        info=dataset.info,
        steps=step_options(params, train),
    )
    model = build_network(params, dataset.info, seed=seed)
    loss = deeply_supervised(
        supervised_loss(params, dataset.info), model, params, dataset.info, seed
    )
    with torch_threads(1), prepared(model, dataset, settings, step_loss=loss) as run:
        verify_applied(sample, run)
        return Live(sample, run)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("encoder", ["resnet18", "regnetx_002"])
def test_pruned_networks_of_all_kinds_pass(encoder, decoder, dataset):
    for ratio in (0.05, 0.4, 0.9):
        prove(
            replace(BASE, encoder=encoder, decoder=decoder, decoder_width=40, pruning_ratio=ratio),
            dataset,
        )


@pytest.mark.parametrize("encoder", ["convnext_atto", "pvt_v2_b0"])
def test_an_encoder_that_pruning_leaves_whole_passes(encoder, dataset):
    """Of the second, attention holds all channels together."""
    for ratio in (0.05, 0.4):
        prove(replace(BASE, encoder=encoder, pruning_ratio=ratio), dataset)


def test_small_probabilities_and_short_runs_pass(dataset):
    for cutmix in (0.001, 0.02, 0.999, 1.0):
        prove(replace(BASE, cutmix=cutmix), dataset)
    prove(
        replace(BASE, batch_size=64),
        dataset,
        train=TrainSettings(epochs=1, device="cpu", accumulate=4),
    )


def test_all_ignored_parameters_are_named(context, config, recorder, monkeypatch):
    losing(alpha=0.5)(monkeypatch)
    optimizing(weight_decay=0.0, lr=1.0)(monkeypatch)
    building(decoder="fpn")(monkeypatch)
    heard = recorder()
    run_trial(config(alpha=0.9, weight_decay=0.05), context(), heard)
    reason = heard.messages[-1].reason
    assert "decoder: sampled 'fpn_lite', live fpn" in reason
    assert "alpha: sampled 0.9, live 0.5" in reason
    assert "weight_decay: sampled 0.05, live 0" in reason
    # The schedule sets the rate, whatever the optimizer was built with.
    assert "learning_rate" not in reason
    assert "decoder_width" not in reason


def test_precision_is_what_operations_compute_in(context, config, recorder, monkeypatch):
    sound = recorder()
    train = {"epochs": 1, "device": "cpu", "precision": "bf16"}
    run_trial(config(), context(train=train), sound)
    assert sound.messages[-1].status is TrialStatus.COMPLETED
    monkeypatch.setattr(
        loop, "resolve_precision", lambda _name, device: resolve_precision("fp32", device)
    )
    heard = recorder()
    run_trial(config(number=1), context(train=train), heard)
    assert heard.messages[-1].reason == (
        "TrialError: without effect: train.precision: declared 'bf16', live fp32"
    )


def all_rows(patch):
    patch.setattr(Subsets, "rows", lambda self, _share, **_least: np.arange(len(self._split)))


def forgetting_the_fidelity(patch):
    def other(settings, fidelity, **changes):
        del fidelity
        return replace(settings, **changes)

    patch.setattr(trainee, "replace", other)


def never_scaling(patch):
    patch.setattr(steps, "scaled_batch", lambda batch, _share, _device: batch)


@pytest.mark.parametrize(
    ("plant", "faults"),
    {
        all_rows: ["data_share: declared 0.5, which is 4 of 8 images, live 8"],
        never_scaling: ["size: declared 0.5, which is 16 x 16, live 32 x 32"],
        forgetting_the_fidelity: [
            "data_share: declared 0.5, which is 4 of 8 images, live 8",
            "size: declared 0.5, which is 16 x 16, live 32 x 32",
        ],
    }.items(),
)
def test_a_declared_fidelity_is_what_the_epoch_trains_on(
    plant, faults, context, config, recorder, monkeypatch
):
    monkeypatch.setattr(fidelity, "SIDE_UNIT", 16)
    search = {"fidelity": {"data_share": [0.5, 1], "size": [0.5, 1]}}
    plant(monkeypatch)
    heard = recorder()
    run_trial(config(), context(search=search), heard)
    told = "; ".join(f"search.fidelity.{fault}" for fault in faults)
    assert heard.messages[-1].reason == f"TrialError: without effect: {told}"


def test_a_declared_fidelity_passes_at_every_stretch(context, config, recorder):
    search = {"fidelity": {"data_share": [0.5, 1]}}
    heard = recorder(stop_at=1)
    run_trial(config(), context(search=search), heard)
    assert heard.kinds == ["costs", "epoch"]
    again = recorder()
    run_trial(config(), context(search=search), again)
    assert again.kinds == ["costs", "epoch", "epoch", "end"]
    assert again.messages[-1].status is TrialStatus.COMPLETED


def test_an_undeclared_fidelity_is_found(context, config, recorder, monkeypatch):
    half = Fidelity(stretches=(Stretch(last_epoch=1, data_share=0.5), Stretch(last_epoch=2)))

    def other(settings, **changes):
        return replace(settings, **{**changes, "fidelity": half})

    monkeypatch.setattr(trainee, "replace", other)
    heard = recorder()
    run_trial(config(), context(), heard)
    assert heard.messages[-1].reason == (
        "TrialError: without effect: search.fidelity.data_share: "
        "declared 1, which is 8 of 8 images, live 4"
    )


def test_a_trial_that_goes_on_is_proven_again(context, config, recorder, monkeypatch):
    class Killed(recorder):
        def report(self, config, message):
            super().report(config, message)
            if message.kind == "epoch":
                raise KeyboardInterrupt

    of, values = context(), {"pruning_ratio": 0.5, "cutmix": 0.5, "optimizer": "sgd"}
    with pytest.raises(KeyboardInterrupt):
        run_trial(config(**values), of, Killed())
    with monkeypatch.context() as patch:
        optimizing(weight_decay=0.5)(patch)
        broken = recorder()
        run_trial(config(**values), of, broken)
    assert "without effect: weight_decay: sampled 0.01, live 0.5" in broken.messages[-1].reason
    heard = recorder()
    run_trial(config(**values), of, heard)
    assert heard.kinds == ["costs", "epoch", "epoch", "end"]
    assert heard.messages[-1].status is TrialStatus.COMPLETED


def test_the_proof_changes_nothing(context, config, recorder, monkeypatch):
    def scored(of):
        heard = recorder()
        run_trial(config(cutmix=0.5, augmentation="strong"), of, heard)
        return [message.metrics for message in heard.messages if message.kind == "epoch"]

    proven = scored(context())
    monkeypatch.setattr(trial, "verify_applied", lambda _sample, _run: None)
    of = context()
    assert scored(replace(of, study_root=of.study_root / "unproven")) == proven
    assert len(proven) == 2


@pytest.mark.parametrize("decoder", DECODERS)
def test_what_a_network_is_can_be_read_from_it(decoder):
    spec = ModelSpec(encoder="resnet18", decoder=decoder, decoder_width=24)
    model = build_model(spec, num_classes=3, size=(64, 96), seed=0)
    channels, times = decoder_channels_in(model)
    assert (encoder_in(model), decoder_in(model), channels / times) == ("resnet18", decoder, 24)
