"""Every value that a trial samples or a user declares has an effect."""

import hashlib
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import save_file

from automl.fidelity import FULL
from automl.jobs import settings
from automl.jobs.context import torch_threads
from automl.jobs.network import build_network
from automl.jobs.settings import combined_loss, deeply_supervised, fit_settings, supervised_loss
from automl.models.build import normalisation_for
from automl.models.decoders import DECODERS
from automl.space.parameter_table import PARAMETERS
from automl.space.parameters import TrialParameters
from automl.space.training import EarlyStopSettings, TrainSettings
from automl.training.manner import Manner
from automl.training.recipe import EarlyStop

BASE = TrialParameters(
    encoder="mobilenetv3_small_050", decoder_width=16, batch_size=4, ema_decay=0.9
)

#: Another value of each parameter, and what must differ then.
CHANGES = {
    "encoder": ("resnet18", "network"),
    "decoder": ("fpn", "network"),
    "decoder_width": (24, "network"),
    "pretrained": (True, "network"),  # replaced by the path of a file
    "init": ("xavier", "network"),
    "head_bias": ("prior", "network"),
    "pruning_ratio": (0.5, "network"),
    "alpha": (0.25, "loss"),
    "region_loss": ("lovasz", "loss"),
    "gamma": (1.0, "loss"),
    "class_weights": ("balanced", "loss"),
    "label_smoothing": (0.1, "loss"),
    "ohem_share": (0.25, "loss"),
    "boundary_weight": (5.0, "loss"),
    "deep_supervision": (0.4, "loss"),
    "augmentation": ("strong", "fit"),
    "cutmix": (0.5, "fit"),
    "classmix": (0.5, "fit"),
    "copy_paste": (0.5, "fit"),
    "mixup": (0.5, "fit"),
    "oversample": ("effective", "fit"),
    "optimizer": ("sgd", "fit"),
    "learning_rate": (2e-3, "fit"),
    "schedule": ("one_cycle", "fit"),
    "warmup_epochs": (0.5, "fit"),
    "encoder_lr_factor": (0.1, "fit"),
    "layer_decay": (0.5, "fit"),
    "freeze_epochs": (2, "fit"),
    "ema_decay": (0.99, "fit"),
    "ema_distillation": (0.5, "fit"),
    "weight_decay": (0.0, "fit"),
    "batch_size": (16, "fit"),
    "accumulate": (2, "fit"),
    "clip_norm": (0.25, "fit"),
}


def digest(tensor):
    return hashlib.sha256(tensor.detach().contiguous().numpy().tobytes()).hexdigest()


def applied(params, info):
    """All that a trial's parameters decide."""
    model = build_network(params, info, seed=0)
    normalisation = normalisation_for(params.model_spec(), info.normalisation)
    step_loss = deeply_supervised(supervised_loss(params, info), model, params, info, seed=0)
    loss, deep = step_loss.loss, getattr(step_loss, "weight", 0.0)
    weights = None if loss.class_weights is None else tuple(loss.class_weights.tolist())
    return {
        "network": {name: digest(value) for name, value in model.state_dict().items()},
        "loss": (loss.alpha, loss.gamma, weights, loss.options, deep),
        "fit": asdict(fit_settings(params, TrainSettings(), normalisation=normalisation, seed=0)),
    }


@pytest.fixture(scope="module")
def base(dataset):
    return applied(BASE, dataset.info)


def test_no_parameter_is_left_out_below():
    assert set(CHANGES) == set(PARAMETERS)


@pytest.mark.parametrize("name", CHANGES)
def test_every_sampled_parameter_is_applied(name, dataset, base, tmp_path):
    value, part = CHANGES[name]
    if name == "pretrained":
        other = build_network(BASE, dataset.info, seed=1)
        value = str(tmp_path / "weights.safetensors")
        save_file(other.encoder.model.state_dict(), value)
    changed = applied(replace(BASE, **{name: value}), dataset.info)
    assert changed[part] != base[part]
    for other_part in set(base) - {part, "fit" if name == "pretrained" else part}:
        assert changed[other_part] == base[other_part]


@pytest.mark.parametrize(
    ("name", "value"),
    {
        "epochs": 7,
        "warmup_epochs": 0.5,
        "accumulate": 3,
        "clip_norm": 0.25,
        "precision": "bf16",
        "device": "cpu",
    }.items(),
)
def test_every_training_setting_is_applied(name, value, dataset):
    train = TrainSettings(**{name: value})
    fit = fit_settings(BASE, train, normalisation=dataset.info.normalisation, seed=5)
    assert getattr(fit, name) == value
    assert fit.seed == 5
    # The backend obeys `workers`, `placement` and `gpu_share`, the trial `inherit` and, where its
    # network can be, `compile`; `deterministic` is a part of the manner. All else is the loop's.
    by_backend = {"workers", "placement", "gpu_share"}
    others = by_backend | {"inherit", "compile", "deterministic"}
    passed_on = {*asdict(fit), *asdict(fit.recipe)}
    assert set(TrainSettings.model_fields) - passed_on == others


@pytest.mark.parametrize(
    ("name", "declared", "sampled", "live"),
    [
        ("warmup_epochs", 2.0, 0.0, 0.0),
        ("accumulate", 4, 1, 1),
        ("clip_norm", 3.0, 0.5, 0.5),
        ("clip_norm", 3.0, "none", None),
        ("clip_norm", "none", 2.0, 2.0),
        ("clip_norm", "none", None, None),
        ("warmup_epochs", 2.0, None, 2.0),
        ("accumulate", 4, None, 4),
    ],
)
def test_a_sampled_option_of_the_steps_holds_and_else_the_declared_one(
    name, declared, sampled, live, dataset
):
    train = TrainSettings(**{name: declared})
    params = replace(BASE, **{name: sampled})
    fit = fit_settings(params, train, normalisation=dataset.info.normalisation, seed=0)
    assert getattr(fit, name) == live
    others = {"warmup_epochs", "accumulate", "clip_norm"} - {name}
    assert all(getattr(fit, other) == getattr(train, other) for other in others)


def test_norms_over_all_workers_are_a_part_of_the_recipe(dataset):
    for declared in (False, True):
        train = TrainSettings(sync_batch_norm=declared)
        fit = fit_settings(BASE, train, normalisation=dataset.info.normalisation, seed=5)
        assert fit.recipe.sync_batch_norm is declared


@pytest.mark.parametrize("deterministic", [False, True])
def test_deterministic_is_a_part_of_the_manner(deterministic, dataset):
    train = TrainSettings(deterministic=deterministic)
    fit = fit_settings(BASE, train, normalisation=dataset.info.normalisation, seed=0)
    assert fit.manner == Manner(deterministic=deterministic)


def test_a_declared_number_of_loader_threads_holds_on_every_device(dataset, monkeypatch):
    for device in ("cpu", "cuda"):
        monkeypatch.setattr(settings, "compute_device", lambda _, kind=device: torch.device(kind))
        for workers in (0, 5):
            train = TrainSettings(loader_workers=workers)
            fit = fit_settings(BASE, train, normalisation=dataset.info.normalisation, seed=0)
            assert fit.loader_workers == workers


def test_a_declared_early_stop_is_the_loops(dataset):
    train = TrainSettings(early_stop=EarlyStopSettings(patience=3, min_delta=0.01))
    fit = fit_settings(BASE, train, normalisation=dataset.info.normalisation, seed=0)
    assert fit.recipe.early_stop == EarlyStop(patience=3, min_delta=0.01)


@pytest.mark.parametrize("decoder", DECODERS)
def test_heads_of_deep_supervision_fit_every_decoder_and_pruning(decoder, dataset):
    for ratio in (0.0, 0.4):
        params = replace(BASE, decoder=decoder, pruning_ratio=ratio, deep_supervision=0.4)
        model = build_network(params, dataset.info, seed=0)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        plain = supervised_loss(params, dataset.info)
        loss = deeply_supervised(plain, model, params, dataset.info, seed=0)
        images = torch.randn(2, 3, *dataset.info.size)
        target = torch.zeros(2, *dataset.info.size, dtype=torch.long)
        assert float(loss(model, images, target).detach()) > 0
        assert len(loss.heads) == {"deeplabv3plus": 1, "unet": 4}.get(decoder, 3)
        # The network that is measured, kept and exported has no part of them.
        assert {name: value.shape for name, value in model.state_dict().items()} == {
            name: value.shape for name, value in before.items()
        }
        assert deeply_supervised(plain, model, BASE, dataset.info, seed=0) is plain


def test_on_a_gpu_the_threads_of_the_job_prepare_batches(dataset, monkeypatch):
    monkeypatch.setattr(settings, "compute_device", lambda _device: torch.device("cuda"))
    with torch_threads(3):
        fit = fit_settings(BASE, TrainSettings(), normalisation=dataset.info.normalisation, seed=0)
    assert fit.loader_workers == 3


def test_on_a_cpu_the_threads_of_the_job_train(dataset):
    train = TrainSettings(device="cpu")
    fit = fit_settings(BASE, train, normalisation=dataset.info.normalisation, seed=0)
    assert fit.loader_workers == 0


def test_a_distillation_may_have_epochs_and_a_rate_of_its_own(dataset):
    train, normalisation = TrainSettings(epochs=9), dataset.info.normalisation
    own = fit_settings(
        BASE, train, normalisation=normalisation, seed=0, epochs=2, learning_rate=0.5
    )
    assert (own.epochs, own.learning_rate, own.fidelity) == (2, 0.5, FULL)
    inherited = fit_settings(BASE, train, normalisation=normalisation, seed=0)
    assert (inherited.epochs, inherited.learning_rate) == (9, BASE.learning_rate)


def test_balanced_weights_favour_the_rare_class(dataset):
    ground, red, green = combined_loss(
        replace(BASE, class_weights="balanced"), dataset.info
    ).class_weights
    assert ground < red < green
    assert combined_loss(BASE, dataset.info).class_weights is None
