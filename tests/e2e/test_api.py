"""`automl.search` with trials in several Ray processes."""

import sys
from types import ModuleType

import pytest

import automl
from automl.records import TrialStatus

SPACE = {"x": {"float": [0.0, 1.0]}}


def learn(trial):
    kept = trial.folder / "epoch"
    assert not trial.epochs_done or int(kept.read_text()) >= trial.epochs_done
    for epoch in range(trial.epochs_done + 1, trial.epochs + 1):
        kept.write_text(str(epoch))
        if trial.number == 2:
            raise RuntimeError("no such file")
        yield {"gain": trial.params["x"] * epoch}


def price(params):
    return {"price": 2 * params["x"]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_trials_run_side_by_side(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    result = automl.search(
        SPACE,
        learn,
        objectives={"gain": "maximize", "price": "minimize"},
        costs=price,
        constraints={"price": 1.9},
        trials=10,
        epochs=3,
        concurrent=2,
    )
    assert len(result.trials) == 10
    failed = [trial for trial in result.trials if trial.status is TrialStatus.FAILED]
    assert [trial.config.number for trial in failed] == [2]
    assert failed[0].reason == "RuntimeError: no such file"
    for trial in result.trials:
        if trial.epochs:
            assert trial.value("gain") == pytest.approx(trial.config.params["x"] * trial.epochs)
    # Trial 0, and one in three of those that were compared, trained to the end.
    compared = sum(trial.epochs > 0 for trial in result.trials[1:])
    assert sum(trial.epochs == 3 for trial in result.trials[1:]) == compared // 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_a_function_that_no_other_process_can_import_is_told(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    nowhere = ModuleType("nowhere")
    exec("def learn(trial): return {'gain': 1.0}", nowhere.__dict__)
    monkeypatch.setitem(sys.modules, "nowhere", nowhere)
    result = automl.search(
        SPACE, nowhere.learn, objectives={"gain": "maximize"}, trials=1, concurrent=2
    )
    assert result.trials[0].status is TrialStatus.FAILED
    assert "ModuleNotFoundError: No module named 'nowhere'" in result.trials[0].reason
