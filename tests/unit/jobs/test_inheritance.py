import json

import pytest
import torch

from automl.jobs import inheritance, trial
from automl.jobs.inheritance import inherit_weights, resting_trials, start_from_donor
from automl.jobs.network import build_network
from automl.jobs.trial import run_trial
from automl.records import TrialConfig, TrialMessage, TrialStatus, Verdict, to_json
from automl.space.parameters import parameters_from
from automl.store.journal import Journal
from automl.training.checkpoint import Checkpoint, save_checkpoint
from automl.training.loop import Run


@pytest.fixture
def network(dataset):
    def make(config, seed=None):
        params = parameters_from(config.params)
        return build_network(params, dataset.info, seed=config.seed if seed is None else seed)

    return make


class Study:
    """Trials in a journal with checkpoints of weights that are all their own."""

    def __init__(self, context, network):
        self.context = context
        self._network = network
        context.folder.root.mkdir(parents=True)

    def log(self, *events):
        with Journal(self.context.folder.journal_file) as journal:
            for event in events:
                journal.append({"elapsed": 0.0, **event})

    def tell(self, config, verdict=Verdict.CONTINUE, **message):
        body = to_json(TrialMessage(seconds=1.0, **message))
        trial_id = config.trial_id
        self.log(
            {"kind": "message", "trial_id": trial_id, "message": body, "verdict": verdict.value}
        )

    def trained(self, config, *, epoch=2, status=TrialStatus.COMPLETED, verdict=Verdict.CONTINUE):
        """A trial after `epoch`; without a status it runs, or rests as the verdict says."""
        self.log({"kind": "proposed", "config": to_json(config)})
        self.tell(config, verdict, kind="epoch", epoch=epoch, metrics={"miou": 0.5})
        if status is not None:
            self.tell(config, kind="end", status=status)
        return self.save(config, epoch)

    def save(self, config, epoch):
        weights = self._network(config, seed=100 + 10 * config.number + epoch)
        checkpoint = Checkpoint(epoch=epoch, model_state=weights.state_dict(), optimizer_state={})
        save_checkpoint(self.context.folder.trial(config.trial_id) / "checkpoint", checkpoint)
        return weights

    def record(self, config):
        file = self.context.folder.trial(config.trial_id) / "donor" / "donor.json"
        return json.loads(file.read_text())


@pytest.fixture
def study(context, network):
    return Study(context(train={"epochs": 1, "device": "cpu", "inherit": True}), network)


def same(left, right):
    return all(torch.equal(v, right.state_dict()[k]) for k, v in left.state_dict().items())


# ---------------------------------------------------------------------- copying


def test_an_heir_gets_every_tensor_that_fits_and_no_other(network, config):
    wide = network(config(decoder_width=32), seed=1)
    narrow = network(config(decoder_width=16), seed=2)
    before = {name: value.clone() for name, value in narrow.state_dict().items()}
    source = wide.state_dict()
    count = inherit_weights(narrow, source)
    fitting = {name for name, value in before.items() if source[name].shape == value.shape}
    assert count == len(fitting)
    assert 0 < count < len(before)
    assert {name for name in before if name.startswith("encoder.")} <= fitting
    for name, value in narrow.state_dict().items():
        expected = source[name] if name in fitting else before[name]
        assert torch.equal(value, expected), name
    with torch.no_grad():
        next(wide.parameters()).add_(1.0)
    assert not torch.equal(next(wide.parameters()), next(narrow.parameters()))


def test_an_equal_network_inherits_everything(network, config):
    donor, heir = network(config(), seed=1), network(config(), seed=2)
    assert inherit_weights(heir, donor.state_dict()) == len(donor.state_dict())
    assert same(heir, donor)


def test_a_pruned_network_inherits_the_layers_that_kept_their_width(network, config):
    whole, pruned = network(config(), seed=1), network(config(pruning_ratio=0.5), seed=2)
    count = inherit_weights(pruned, whole.state_dict())
    assert 0 < count < len(pruned.state_dict())


# ---------------------------------------------------------------------- choosing


def test_the_donor_is_the_longest_trained_of_those_that_fit_alike_then_the_earliest(
    study, network, config
):
    study.trained(config(0), epoch=2)
    best = study.trained(config(1, alpha=0.1), epoch=6)
    study.trained(config(2, alpha=0.2), epoch=6)
    heir = config(3)
    model = network(heir)
    start_from_donor(model, heir, study.context)
    assert same(model, best)
    record = study.record(heir)
    assert record == {
        "trial_id": config(1, alpha=0.1).trial_id,
        "epoch": 6,
        "tensors": len(model.state_dict()),
    }


def test_a_network_that_overlaps_more_is_worth_more_than_epochs(study, network, config):
    study.trained(config(0, pruning_ratio=0.5), epoch=9)
    donor = study.trained(config(1), epoch=1)
    model = network(config(2))
    start_from_donor(model, config(2), study.context)
    assert same(model, donor)


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": "resnet18"},
        {"pretrained": True},
    ],
)
def test_another_encoder_is_no_donor(study, network, config, change, monkeypatch):
    other = config(0, **change)
    monkeypatch.setattr(study, "save", lambda _config, _epoch: None)
    study.trained(other)
    plain = {name: value for name, value in other.params.items() if name != "pretrained"}
    weights = network(TrialConfig(number=0, seed=0, params=plain)).state_dict()
    folder = study.context.folder.trial(other.trial_id) / "checkpoint"
    save_checkpoint(folder, Checkpoint(epoch=2, model_state=weights, optimizer_state={}))
    model = network(config(1))
    start_from_donor(model, config(1), study.context)
    assert same(model, network(config(1)))
    assert study.record(config(1)) == {"trial_id": None, "epoch": 0, "tensors": 0}


def test_running_failed_later_and_untrained_trials_are_no_donors(study, network, config):
    study.trained(config(0), status=None)
    study.trained(config(1), status=TrialStatus.FAILED)
    study.log({"kind": "proposed", "config": to_json(config(2))})
    study.trained(config(9))
    start_from_donor(network(config(3)), config(3), study.context)
    assert study.record(config(3))["trial_id"] is None


def test_a_trial_that_waits_at_a_rung_is_a_donor(study, network, config):
    donor = study.trained(config(0), status=None, verdict=Verdict.STOP)
    model = network(config(1))
    start_from_donor(model, config(1), study.context)
    assert same(model, donor)


def test_a_trial_that_goes_on_after_a_rest_runs(config):
    def event(verdict, epoch):
        message = to_json(TrialMessage(kind="epoch", seconds=1.0, epoch=epoch))
        trial_id = config(0).trial_id
        return {"kind": "message", "trial_id": trial_id, "message": message, "verdict": verdict}

    proposed = {"kind": "proposed", "config": to_json(config(0))}
    (resting,) = resting_trials([proposed, event("continue", 1), event("stop", 2)])
    assert (resting.config, resting.epoch) == (config(0), 2)
    assert resting_trials([proposed, event("stop", 1), event("continue", 2)]) == []


def test_a_damaged_donor_gives_way_to_the_next(study, network, config):
    study.trained(config(0), epoch=6)
    second = study.trained(config(1), epoch=2)
    for state in study.context.folder.trial(config(0).trial_id).glob("checkpoint/*/state.json"):
        state.write_text("{}")
    model = network(config(2))
    start_from_donor(model, config(2), study.context)
    assert same(model, second)


# ---------------------------------------------------------------------- starting again


def test_a_restart_begins_with_the_same_weights_whatever_became_of_the_donor(
    study, network, config
):
    donor = study.trained(config(0), epoch=2)
    start_from_donor(network(config(2)), config(2), study.context)
    study.save(config(0), epoch=8)
    study.trained(config(1), epoch=9)
    model = network(config(2))
    start_from_donor(model, config(2), study.context)
    assert same(model, donor)


def test_a_trial_without_a_donor_stays_without_one(study, network, config):
    start_from_donor(network(config(2)), config(2), study.context)
    study.trained(config(0))
    model = network(config(2))
    start_from_donor(model, config(2), study.context)
    assert same(model, network(config(2)))


def test_only_the_first_process_of_a_group_chooses(study, network, config, monkeypatch):
    study.trained(config(0))
    monkeypatch.setattr(inheritance, "global_rank", lambda: 1)
    model = network(config(1))
    start_from_donor(model, config(1), study.context)
    assert same(model, network(config(1)))
    assert not study.context.folder.trial(config(1).trial_id).exists()


@pytest.mark.parametrize("inherit", [True, False])
def test_a_trial_inherits_where_that_is_declared(
    context, network, config, recorder, monkeypatch, inherit
):
    train = {"epochs": 1, "device": "cpu", "inherit": inherit}
    of = Study(context(train=train), network)
    donor = of.trained(config(0))
    started = []

    def to_the_end(run, _reporter):
        started.append(run.module.model)
        raise KeyError("seen enough")

    monkeypatch.setattr(trial, "measure_costs", lambda _config, _context: ())
    monkeypatch.setattr(Run, "to_the_end", to_the_end)
    run_trial(config(1), of.context, recorder())
    assert started, "the proof of what was applied holds for an heir too"
    assert same(started[0], donor) is inherit
