from dataclasses import replace
from types import SimpleNamespace

import pytest

from automl.errors import DataError, UsageError
from automl.jobs.speed import read_choice
from automl.records import SpeedChoice, TrialConfig, TrialMessage, TrialStatus, Verdict, to_json
from automl.stages import reproduce as stage
from automl.stages.reproduce import ReproductionRequest, plan_reproduction, reproduce
from automl.stages.trial_record import trial_record
from automl.store.environment import Environment, record_environment
from automl.store.journal import Journal
from automl.store.layout import StudyFolder
from automl.store.tables import write_trials

HOME = Environment(
    python="3.11.4",
    packages={"torch": "2.0.0"},
    cpu="EPYC (AVX2)",
    device="cpu",
    threads=3,
    runs_on="cpu: Ray on 1 node",
)


def config(number):
    return TrialConfig(number=number, seed=number, params={"alpha": number / 100})


def message(number, kind, **fields):
    own = TrialMessage(kind=kind, seconds=1.0, **fields)
    return {"kind": "message", "trial_id": config(number).trial_id, "message": to_json(own)}


EVENTS = [
    *({"kind": "proposed", "config": to_json(config(number))} for number in range(5)),
    message(0, "epoch", epoch=1, metrics={"miou": 0.25, "val_loss": 2.0}),
    message(0, "epoch", epoch=2, metrics={"miou": 0.5, "val_loss": 1.0}),
    message(0, "end", status=TrialStatus.COMPLETED),
    message(1, "end", status=TrialStatus.INFEASIBLE, reason="size_mb 3 > 2"),
    message(2, "end", status=TrialStatus.FAILED, reason="the loss is nan"),
    message(4, "epoch", epoch=1, metrics={"miou": 0.125, "val_loss": 3.0}),
]


@pytest.fixture
def recorded(study, monkeypatch):
    """A study's folder as a search leaves it: five trials, of which two can be compared."""
    of = study(train={"epochs": 2, "device": "cpu"})
    folder = StudyFolder.open_or_create(
        of.folder.root, of.experiment.to_json(), of.experiment.key()
    )
    folder.record_dataset(of.dataset.info)
    with Journal(folder.journal_file) as journal:
        for event in EVENTS:
            journal.append(event)
    monkeypatch.setattr(stage, "cached_dataset", lambda *_args, **_named: of.dataset)
    return folder


def request(folder, trial="0", **fields):
    return ReproductionRequest(root=folder.root, trial=trial, **fields)


# ---------------------------------------------------------------------- the record


def test_a_trial_is_found_by_number_and_by_id(recorded):
    record = trial_record(recorded, "0")
    assert record == trial_record(recorded, config(0).trial_id) == trial_record(recorded, "0000")
    assert (record.config, record.status, record.epochs) == (config(0), TrialStatus.COMPLETED, 2)
    assert record.scores[1] == {"miou": 0.25, "val_loss": 2.0}
    assert record.environments == ()


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("99", "a number from 0 to 4, or an id such as 0000-"),
        ("99", "the nearest is 4"),
        (config(3).trial_id[:-1], f"the nearest is {config(3).trial_id}"),
        ("best", "holds no trial best"),
    ],
)
def test_an_unknown_trial_is_told_with_what_there_is(recorded, named, told):
    with pytest.raises(UsageError, match="holds no trial") as caught:
        trial_record(recorded, named)
    assert told in str(caught.value)


def test_the_environment_is_the_one_of_the_trials_epochs(recorded):
    other = replace(HOME, threads=1)
    record_environment(recorded.environment_file, HOME, first_event=0)
    record_environment(recorded.environment_file, other, first_event=8)
    assert trial_record(recorded, "0").environments == (HOME,)
    assert trial_record(recorded, "4").environments == (other,)


def test_without_its_journal_a_study_knows_the_last_epoch(recorded, result):
    recorded.journal_file.unlink()
    write_trials(recorded, [result(0, 0.5), result(1, None, status=TrialStatus.FAILED)])
    record = trial_record(recorded, "0")
    assert record.config == result(0, 0.5).config
    assert (record.epochs, record.scores) == (3, {3: {"miou": 0.5}})
    assert trial_record(recorded, "1").scores == {}


def test_a_study_without_trials_and_a_damaged_journal_are_told(recorded):
    content = recorded.journal_file.read_bytes()
    recorded.journal_file.write_bytes(content.replace(b"0.25", b"0.75"))
    with pytest.raises(UsageError, match=r"journal\.jsonl:6: this line is damaged"):
        trial_record(recorded, "0")
    recorded.journal_file.unlink()
    with pytest.raises(UsageError, match="holds no trials"):
        trial_record(recorded, "0")


# ---------------------------------------------------------------------- the plan


def test_a_plan_takes_threads_and_epochs_from_the_record(recorded):
    record_environment(recorded.environment_file, HOME, first_event=0)
    plan = plan_reproduction(request(recorded))
    assert (plan.epochs, plan.threads, plan.metric) == (2, 3, "miou")
    assert "torch: recorded 2.0.0, here " in "\n".join(plan.differences)
    assert not any("threads" in difference for difference in plan.differences)
    other = plan_reproduction(request(recorded, epochs=1, threads=1))
    assert (other.epochs, other.threads) == (1, 1)
    assert "CPU threads: recorded 3, here 1" in other.differences


def test_an_environment_that_is_not_recorded_is_unknown_not_equal(recorded):
    assert plan_reproduction(request(recorded)).differences is None


def test_a_trial_that_still_runs_can_be_compared_as_far_as_it_got(recorded):
    plan = plan_reproduction(request(recorded, "4"))
    assert (plan.record.status, plan.epochs) == (None, 1)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"trial": "1"}, "trial 1 broke a constraint and was never trained (size_mb 3 > 2)"),
        ({"trial": "2"}, "trial 2 failed (the loss is nan)"),
        ({"trial": "3"}, "trial 3 has not finished an epoch yet"),
        ({"epochs": 3}, "--epochs-only: given 3; allowed: 1 to 2"),
    ],
)
def test_what_has_nothing_to_compare_with_is_told(recorded, fields, told):
    with pytest.raises(UsageError) as caught:
        plan_reproduction(request(recorded, **fields))
    assert told in str(caught.value)


def test_without_a_journal_fewer_epochs_have_nothing_to_compare_with(recorded, result):
    recorded.journal_file.unlink()
    write_trials(recorded, [result(0, 0.5)])
    with pytest.raises(UsageError, match="holds the last epoch of a trial alone"):
        plan_reproduction(request(recorded, epochs=2))


def test_a_folder_without_a_study_is_told(tmp_path):
    with pytest.raises(UsageError, match="holds no study"):
        plan_reproduction(ReproductionRequest(root=tmp_path, trial="0"))


def test_an_experiment_of_another_version_is_told(recorded):
    file = recorded.experiment_file
    file.write_text(file.read_text().replace('"sampler"', '"oracle"'))
    with pytest.raises(UsageError, match="does not know this experiment") as caught:
        plan_reproduction(request(recorded))
    assert "search.oracle" in str(caught.value)


def test_another_dataset_is_refused_with_both_fingerprints(recorded, study, monkeypatch):
    other = SimpleNamespace(info=replace(study().dataset.info, fingerprint="e" * 64))
    monkeypatch.setattr(stage, "cached_dataset", lambda *_args, **_named: other)
    with pytest.raises(UsageError) as caught:
        plan_reproduction(request(recorded, data="elsewhere"))
    for told in ("elsewhere", "e" * 64, "f" * 64, "--data"):
        assert told in str(caught.value)


def test_a_dataset_that_is_gone_is_told_with_the_way_out(recorded, monkeypatch):
    def refuse(*_args, **_named):
        raise DataError("my-data: no such folder")

    monkeypatch.setattr(stage, "cached_dataset", refuse)
    with pytest.raises(UsageError, match="no such folder") as caught:
        plan_reproduction(request(recorded))
    assert "--data names where" in str(caught.value)


def test_a_checkpoint_is_kept_neither_over_files_nor_in_the_study(recorded, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UsageError, match=r"--out: .*full is there already"):
        plan_reproduction(request(recorded, out=tmp_path / "full"))
    with pytest.raises(UsageError, match="lies in the study"):
        plan_reproduction(request(recorded, out=recorded.root / "again"))


# ---------------------------------------------------------------------- the training


def trainer(scores):
    """In place of training: epochs with these scores, until told to stop; a checkpoint each."""

    def train(run):
        for epoch, miou in enumerate(scores, start=1):
            folder = run.context.folder.trial(run.config.trial_id) / "checkpoint"
            (folder / f"epoch-{epoch:05d}").mkdir(parents=True)
            (folder / f"epoch-{epoch:05d}" / "state.json").write_text(str(epoch))
            verdict = run.report(epoch, {"miou": miou, "val_loss": 2.0 / epoch})
            if verdict is Verdict.STOP:
                return True
        return False

    return train


def test_each_epoch_is_compared_and_the_training_ends_at_the_last_one(recorded):
    heard = []
    plan = plan_reproduction(request(recorded))
    done = reproduce(plan, heard.append, train=trainer([0.25, 0.5, 0.75]))
    assert list(done.epochs) == heard
    assert [each.difference("miou") for each in heard] == [0, 0]
    assert done.verdict == "identical"
    plan = plan_reproduction(request(recorded, tolerance=0.125))
    assert reproduce(plan, heard.append, train=trainer([0.25, 0.625])).verdict == "within"


def test_a_measured_trial_is_reproduced_in_the_manner_that_was_chosen(recorded):
    choice = SpeedChoice(precision="bf16", layout="contiguous")
    with Journal(recorded.journal_file) as journal:
        journal.append(message(4, "epoch", epoch=2, metrics={"miou": 0.25}, speed=choice))
    assert trial_record(recorded, "4").speed == choice
    assert trial_record(recorded, "0").speed is None
    found = []

    def train(run):
        found.append(read_choice(run.folder))
        return trainer([0.125, 0.25])(run)

    reproduce(plan_reproduction(request(recorded, "4")), lambda _epoch: None, train=train)
    reproduce(plan_reproduction(request(recorded, "0")), lambda _epoch: None, train=train)
    assert found == [choice, None]


def test_the_last_checkpoint_is_kept_where_that_is_asked_for(recorded, tmp_path):
    out = tmp_path / "kept" / "here"
    before = sorted(recorded.root.rglob("*"))
    plan = plan_reproduction(request(recorded, out=out))
    reproduce(plan, lambda _epoch: None, train=trainer([0.25, 0.5]))
    assert [path.name for path in out.iterdir()] == ["epoch-00002"]
    assert (out / "epoch-00002" / "state.json").read_text() == "2"
    assert sorted(recorded.root.rglob("*")) == before
