from dataclasses import replace

import pytest
import torch

from automl.errors import StudyError, TrialError
from automl.jobs import trial
from automl.jobs.context import torch_threads
from automl.jobs.trial import run_trial
from automl.records import Measurement, TrialStatus, Verdict

COSTS = (Measurement(metric="params_m", value=12.0), Measurement(metric="size_mb", value=5.0))


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    """Costs without a measurement."""
    monkeypatch.setattr(trial, "measure_costs", lambda _config, _context: COSTS)


def untrained(_run):
    pytest.fail("nothing may be trained")


def test_a_trial_tells_its_costs_its_epochs_and_its_end(context, config, recorder):
    def train(run):
        assert run.report(1, {"miou": 0.5}) is Verdict.CONTINUE
        return False

    heard = recorder()
    run_trial(config(), context(), heard, train=train)
    costs, epoch, end = heard.messages
    assert costs.kind == "costs"
    assert costs.measurements == COSTS
    assert (epoch.kind, epoch.epoch, epoch.metrics) == ("epoch", 1, {"miou": 0.5})
    assert (end.status, end.reason) == (TrialStatus.COMPLETED, None)
    assert 0 <= costs.seconds <= epoch.seconds <= end.seconds


def test_a_trial_that_ends_early_is_complete_and_says_so(context, config, recorder):
    train = {"epochs": 9, "device": "cpu", "early_stop": {"patience": 2, "min_delta": 1}}
    heard = recorder()
    run_trial(config(), context(train=train), heard)
    assert heard.kinds == ["costs", *["epoch"] * 3, "end"]
    end = heard.messages[-1]
    told = "stopped early at epoch 3 of 9, best 1"
    assert (end.status, end.reason) == (TrialStatus.COMPLETED, told)
    again = recorder()
    run_trial(config(), context(train=train), again)
    assert again.kinds == ["costs", "epoch", "end"]
    assert (again.messages[1].epoch, again.messages[-1].reason) == (3, told)


def scores_of(sample, trained, recorder):
    heard = recorder()
    run_trial(sample, trained, heard)
    assert heard.messages[-1].status is TrialStatus.COMPLETED, heard.messages[-1].reason
    return [message.metrics for message in heard.messages if message.kind == "epoch"]


@pytest.mark.parametrize(
    ("name", "sampled", "declared"),
    [("warmup_epochs", 0.0, 1.0), ("accumulate", 2, 1), ("clip_norm", 1e-3, "none")],
)
def test_a_sampled_option_of_the_steps_trains_as_the_same_one_declared(
    name, sampled, declared, context, config, recorder
):
    def trained(params, value):
        train = {"epochs": 2, "device": "cpu", name: value}
        of = context(train=train)
        of = replace(of, study_root=of.study_root / f"{name}-{value}-{len(params)}")
        return scores_of(config(**params), of, recorder)

    usual, other = trained({}, declared), trained({}, sampled)
    assert usual != other
    assert trained({name: sampled}, declared) == other
    assert trained({name: declared}, sampled) == usual


def test_a_stopped_trial_leaves_its_end_to_who_stopped_it(context, config, recorder):
    heard = recorder(stop_at=1)
    run_trial(
        config(), context(), heard, train=lambda run: run.report(1, {"miou": 0.1}) is Verdict.STOP
    )
    assert heard.kinds == ["costs", "epoch"]


def test_an_infeasible_trial_trains_nothing_and_names_each_bound(context, config, recorder):
    heard = recorder()
    limits = {"params_m": 10, "size_mb": 4.5}
    run_trial(config(), context(constraints=limits), heard, train=untrained)
    assert heard.kinds == ["costs", "end"]
    end = heard.messages[-1]
    assert end.status is TrialStatus.INFEASIBLE
    assert end.reason == "params_m 12 > 10, size_mb 5 > 4.5"


def test_a_trial_exactly_at_its_bound_is_feasible(context, config, recorder):
    heard = recorder()
    limits = {"params_m": 12, "size_mb": 100}
    run_trial(config(), context(constraints=limits), heard, train=lambda _run: False)
    assert heard.messages[-1].status is TrialStatus.COMPLETED


@pytest.mark.parametrize(
    "fault", [TrialError("loss is nan"), RuntimeError("out of memory"), ZeroDivisionError("0 / 0")]
)
def test_any_fault_in_training_is_a_failed_end_with_its_traceback(context, config, recorder, fault):
    def train(_run):
        raise fault

    heard, of = recorder(), context()
    run_trial(config(), of, heard, train=train)
    end = heard.messages[-1]
    assert end.status is TrialStatus.FAILED
    assert end.reason == f"{type(fault).__name__}: {fault}"
    log = (of.folder.trial(config().trial_id) / "error.txt").read_text()
    assert "Traceback" in log
    assert str(fault) in log


def test_a_fault_in_measuring_is_a_failed_end_too(context, config, recorder, monkeypatch):
    def fail(_config, _context):
        raise TrialError("this network cannot be exported")

    monkeypatch.setattr(trial, "measure_costs", fail)
    heard = recorder()
    run_trial(config(), context(), heard, train=untrained)
    assert heard.kinds == ["end"]
    assert heard.messages[0].reason == "TrialError: this network cannot be exported"


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), StudyError("the disk is full")])
def test_what_ends_the_study_is_no_failure_of_the_trial(context, config, recorder, fault):
    def train(_run):
        raise fault

    heard = recorder()
    with pytest.raises(type(fault)):
        run_trial(config(), context(), heard, train=train)
    assert heard.kinds == ["costs"]


def test_threads_are_given_back_even_after_a_fault():
    def fail():
        with torch_threads(before + 1):
            seen.append(torch.get_num_threads())
            raise TrialError("x")

    before, seen = torch.get_num_threads(), []
    with pytest.raises(TrialError):
        fail()
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_a_context_needs_a_thread(context):
    sound = context()
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        type(sound)(
            experiment=sound.experiment,
            study_root=sound.study_root,
            dataset_root=sound.dataset_root,
            threads=0,
        )


def test_a_real_training_goes_on_where_a_kill_stopped_it(context, config, recorder):
    class Killed(recorder):
        def report(self, config, message):
            super().report(config, message)
            if message.kind == "epoch":
                raise KeyboardInterrupt
            return Verdict.CONTINUE

    of, first, second = context(), Killed(), recorder()
    with pytest.raises(KeyboardInterrupt):
        run_trial(config(), of, first)
    run_trial(config(), of, second)
    assert second.kinds == ["costs", "epoch", "epoch", "end"]
    assert [message.epoch for message in second.messages[1:3]] == [1, 2]
    assert second.messages[1].metrics == first.messages[1].metrics
    assert second.messages[-1].status is TrialStatus.COMPLETED
