import json
import logging

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from automl.records import TrialStatus
from automl.sampling.mirror import OptunaMirror


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lightweight" / "optuna.log"


def mirror(lab, path, objectives=None):
    return OptunaMirror(path, lab.objectives if objectives is None else objectives, lab.space)


def read_back(path):
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name=path.parent.name, storage=storage)


def tell_five(lab, listener):
    """One of each: completed, stopped, infeasible, failed, running."""
    params = lab.space.default()
    for number in range(5):
        listener.begin(number, {**params, "batch_size": 2 + number})
    listener.observe(0, 1, (0.4, 9.0))
    listener.observe(0, 9, (0.6, 9.0))
    shown = {"trial_id": "0000-abc", "epochs": 9, "reason": None}
    listener.end(0, TrialStatus.COMPLETED, (0.6, 9.0), shown)
    listener.observe(1, 1, (0.3, 8.0))
    listener.end(1, TrialStatus.STOPPED, (0.3, 8.0), {"epochs": 1, "reason": "not the best third"})
    listener.reject(2, {"latency_ms": 12.0, "size_mb": -1.0})
    listener.end(2, TrialStatus.INFEASIBLE, None, {"epochs": 0, "reason": "latency"})
    listener.reject(3, {})
    listener.end(3, TrialStatus.FAILED, None, {"reason": "NaN at step 3"})


def check_five(lab, study):
    done, stopped, infeasible, failed, running = study.trials
    assert [trial.state for trial in study.trials] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.RUNNING,
    ]
    assert done.values == [0.6, 9.0]
    assert done.user_attrs["trial_id"] == "0000-abc"
    assert done.user_attrs["status"] == "completed"
    assert done.user_attrs["epochs"] == 9
    assert done.user_attrs["epoch 1"] == {"miou": 0.4, "latency_ms": 9.0}
    assert "reason" not in done.user_attrs
    assert stopped.user_attrs["reason"] == "not the best third"
    assert infeasible.constraints == {"latency_ms": 12.0, "size_mb": -1.0}
    assert failed.constraints == {"failed": 1.0}
    assert failed.user_attrs["reason"] == "NaN at step 3"
    searched = {name: v for name, v in lab.space.default().items() if name != "pretrained"}
    assert running.params == {**searched, "batch_size": 6}
    assert study.best_trials == [done]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["miou", "latency_ms"]


@pytest.mark.parametrize("published", ["first", "last"])
def test_optuna_reads_what_was_told_before_and_after_it_was_published(lab, path, published):
    listener = mirror(lab, path)
    if published == "first":
        listener.publish()
    tell_five(lab, listener)
    if published == "last":
        assert not path.exists()
        listener.publish()
    check_five(lab, read_back(path))


def test_a_reader_follows_the_search(lab, path):
    listener = mirror(lab, path)
    listener.publish()
    study = read_back(path)
    listener.begin(0, lab.space.default())
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING]
    listener.end(0, TrialStatus.COMPLETED, (0.6, 9.0))
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE]


def test_one_objective_shows_its_course(lab, path):
    listener = mirror(lab, path, lab.objectives[:1])
    listener.publish()
    listener.begin(0, lab.space.default())
    listener.observe(0, 1, (0.4,))
    listener.observe(0, 3, (0.5,))
    (trial,) = read_back(path).trials
    assert trial.intermediate_values == {1: 0.4, 3: 0.5}


@pytest.mark.parametrize("damage", ["torn", "rubbish", "stale lock"])
def test_the_next_start_makes_a_damaged_file_anew(lab, path, damage):
    listener = mirror(lab, path)
    listener.publish()
    tell_five(lab, listener)
    whole = path.read_bytes()
    if damage == "stale lock":
        path.with_name("optuna.log.lock").symlink_to(path)
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "torn" else b"{]\n" + whole)
    again = mirror(lab, path)
    tell_five(lab, again)
    again.publish()
    again.begin(5, {**lab.space.default(), "decoder": "unet"})
    study = read_back(path)
    assert len(study.trials) == 6
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_fault_is_told_once_and_never_reaches_the_search(lab, path, caplog):
    listener = mirror(lab, path)
    listener.publish()
    listener.begin(0, lab.space.default())
    content = path.read_bytes()
    path.unlink()
    path.mkdir()
    with caplog.at_level(logging.WARNING):
        tell_five(lab, listener)
        listener.publish()
    (record,) = caplog.records
    assert "is no longer written" in record.message
    path.rmdir()
    path.write_bytes(content)
    listener.begin(9, lab.space.default())
    assert path.read_bytes() == content


def test_values_that_are_no_numbers_end_as_failed(lab, path):
    listener = mirror(lab, path)
    listener.begin(0, lab.space.default())
    listener.end(0, TrialStatus.COMPLETED, (float("nan"), 1.0))
    listener.publish()
    assert read_back(path).trials[0].state is TrialState.FAIL
