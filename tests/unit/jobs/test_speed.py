"""What a job measures of its speed is kept, obeyed, and told."""

import json
from dataclasses import replace

import pytest
import torch

from automl.jobs import applied, speed, trial
from automl.jobs.network import build_network
from automl.jobs.retrain import RetrainJob, retrain
from automl.jobs.speed import keep_choice, read_choice
from automl.jobs.trial import run_trial
from automl.models.decoders import DECODERS
from automl.records import SpeedChoice, TrialStatus
from automl.space.parameters import TrialParameters
from automl.training import tuning
from automl.training.manner import Manner

FASTEST = {"epochs": 2, "device": "cpu", "precision": "fastest"}


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    """Costs without a measurement."""
    monkeypatch.setattr(trial, "measure_costs", lambda _config, _context: ())


@pytest.fixture
def chosen(monkeypatch):
    """Have the measurement find what a test wants, and count how often it is made."""
    calls = []

    def plant(**choice):
        def tune(*_given):
            calls.append(1)
            return SpeedChoice(**choice)

        monkeypatch.setattr(speed, "tune", tune)
        return calls

    return plant


def folder_of(context, config):
    return context.folder.trial(config.trial_id)


def test_what_was_chosen_is_on_disk_before_it_is_trained_with(
    context, config, recorder, chosen, monkeypatch
):
    chosen(precision="bf16", layout="contiguous", step_ms={"bf16+contiguous": 1.5})
    of, seen = context(train=FASTEST), []

    def look(sample, run):
        seen.append((read_choice(folder_of(of, config())), run.stepper.precision.name))
        applied.verify_applied(sample, run)

    monkeypatch.setattr(trial, "verify_applied", look)
    heard = recorder()
    run_trial(config(), of, heard)
    assert heard.messages[-1].status is TrialStatus.COMPLETED
    choice = SpeedChoice(precision="bf16", layout="contiguous", step_ms={"bf16+contiguous": 1.5})
    assert seen == [(choice, "bf16")]
    assert [m.speed for m in heard.messages if m.kind == "epoch"] == [choice, choice]


def test_a_trial_that_goes_on_keeps_its_choice(context, config, recorder, chosen):
    calls = chosen(precision="bf16")
    of = context(train=FASTEST)
    run_trial(config(), of, recorder(stop_at=1))
    chosen(precision="fp32")
    heard = recorder()
    run_trial(config(), of, heard)
    assert heard.messages[-1].status is TrialStatus.COMPLETED
    assert heard.messages[1].speed.precision == "bf16"
    assert calls == [1]


def test_nothing_is_measured_where_nothing_is_asked(context, config, recorder, chosen):
    calls = chosen(precision="bf16")
    of, heard = context(), recorder()
    run_trial(config(), of, heard)
    assert heard.messages[-1].status is TrialStatus.COMPLETED
    assert calls == []
    assert read_choice(folder_of(of, config())) is None
    assert all(message.speed is None for message in heard.messages)


def metrics(heard):
    return [message.metrics for message in heard.messages if message.kind == "epoch"]


def test_measuring_changes_nothing_of_the_training(context, config, recorder):
    """A measured trial gives the bits of one that was told the same."""
    of, measured = context(train=FASTEST), recorder()
    run_trial(config(cutmix=0.5), of, measured)
    choice = read_choice(folder_of(of, config(cutmix=0.5)))
    assert choice.step_ms.keys() == set(tuning.ways(torch.device("cpu")))
    elsewhere = replace(of, study_root=of.study_root / "told")
    keep_choice(folder_of(elsewhere, config(cutmix=0.5)), choice)
    told = recorder()
    run_trial(config(cutmix=0.5), elsewhere, told)
    assert metrics(told) == metrics(measured)
    assert len(metrics(told)) == 2


def test_the_usual_way_gives_the_usual_bits(context, config, recorder, chosen):
    usual = recorder()
    run_trial(config(), context(), usual)
    chosen(precision="fp32")
    of = context(train=FASTEST)
    measured = recorder()
    run_trial(config(), replace(of, study_root=of.study_root / "measured"), measured)
    assert metrics(measured) == metrics(usual)


def test_a_repeated_trial_trains_as_the_first(context, config, chosen):
    """As `reproduce` and the finalists' further seeds have it."""
    chosen(precision="fp32")
    of = context(train=FASTEST)
    keep_choice(folder_of(of, config()), SpeedChoice(precision="bf16"))
    retrain(RetrainJob(context=of, config=config(), epochs=1), lambda _epoch, _metrics: None)
    state = next((folder_of(of, config()) / "checkpoint").glob("epoch-*/state.json"))
    assert json.loads(state.read_text())["body"]["extra"]["run"]["precision"] == "bf16"


def test_a_damaged_choice_is_told_with_its_file(context, config, recorder):
    of = context(train=FASTEST)
    file = folder_of(of, config()) / "speed.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"precision": 7}')
    heard = recorder()
    run_trial(config(), of, heard)
    assert f"{file}: not a readable choice of speed" in heard.messages[-1].reason


@pytest.mark.parametrize(
    ("live", "fault"),
    [
        ({"layout": "contiguous"}, "train.precision: chose channels_last, live contiguous"),
        ({"compiled": True}, "train.compile: declared False, live True"),
        ({"deterministic": True}, "train.deterministic: declared False, live True"),
    ],
)
def test_a_manner_that_is_not_the_declared_one_fails_the_trial(
    live, fault, context, config, recorder, monkeypatch
):
    honest = trial.prepared

    def other(model, dataset, settings, **given):
        manner = replace(settings.manner, **live)
        return honest(model, dataset, replace(settings, manner=manner), **given)

    monkeypatch.setattr(trial, "prepared", other)
    heard = recorder()
    run_trial(config(), context(), heard)
    assert heard.messages[-1].reason == f"TrialError: without effect: {fault}"


def test_deterministic_reaches_the_run(context, config, recorder, monkeypatch):
    live = []

    def look(sample, run):
        live.append((sample.manner, torch.are_deterministic_algorithms_enabled()))
        applied.verify_applied(sample, run)

    monkeypatch.setattr(trial, "verify_applied", look)
    heard = recorder()
    run_trial(
        config(), context(train={**FASTEST, "precision": "auto", "deterministic": True}), heard
    )
    assert heard.messages[-1].status is TrialStatus.COMPLETED
    assert live == [(Manner(deterministic=True), True)]
    assert not torch.are_deterministic_algorithms_enabled()


def test_choices_are_told_in_words():
    assert str(SpeedChoice(precision="fp32")) == "fp32, channels-last"
    full = SpeedChoice(
        precision="bf16", layout="contiguous", not_compiled="no compiler", loader_workers=2
    )
    assert str(full) == "bf16, contiguous, not compiled (no compiler), 2 loader thread(s)"
    assert str(SpeedChoice(precision="bf16", compiled=True)) == "bf16, channels-last, compiled"


@pytest.mark.exhaustive
@pytest.mark.parametrize("decoder", DECODERS)
def test_networks_are_one_graph(decoder, dataset):
    """What `compile` asks for, without the minutes of making kernels: no break of the graph."""
    params = TrialParameters(encoder="mobilenetv3_small_050", decoder=decoder, decoder_width=16)
    model = build_network(params, dataset.info, seed=0)
    model.compile(fullgraph=True, dynamic=False, backend="aot_eager")
    logits_nkhw = model(torch.rand(2, 3, 32, 32))
    logits_nkhw.sum().backward()
    assert logits_nkhw.shape == (2, 3, 32, 32)
    assert all(parameter.grad is not None for parameter in model.parameters())
