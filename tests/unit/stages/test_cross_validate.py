import json

import numpy as np
import pytest

from automl.cli.cross_validate import _plan_lines
from automl.data.folds import deal_folds
from automl.data.importing import import_dataset
from automl.data.stratify import stratified_folds
from automl.errors import UsageError
from automl.space.experiment import Experiment
from automl.stages import cross_validate as module
from automl.stages.cross_validate import cross_validate, optimism, plan_cross_validation

PLAIN = {
    "space": {"learning_rate": {"float": [1e-4, 1e-2], "log": True, "default": 1e-3}},
    "train": {"epochs": 3},
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    place = tmp_path_factory.mktemp("data") / "imported"
    return import_dataset("builtin:surface-defects", size=(32, 32), destination=place)


@pytest.fixture
def plan(dataset, tmp_path):
    def make(out="out", folds=3, **sections):
        experiment = Experiment.from_json({**PLAIN, **sections})
        params = experiment.space.default()
        return plan_cross_validation(
            experiment, dataset, params, num_folds=folds, out=tmp_path / out, threads=1
        )

    return make


@pytest.fixture
def trained(monkeypatch):
    """Folds that were trained, in order; the score of fold n is (n + 1) / 10."""
    seen = []

    def train(job, hear):
        fold = job.config.number
        seen.append((fold, job.context.dataset(), dict(job.config.params)))
        for epoch in range(1, job.epochs + 1):
            hear(epoch, {"miou": (fold + 1) / 10 if epoch == job.epochs else 0.0})

    monkeypatch.setattr(module, "retrain", train)
    return seen


def quiet(_fold, _scores):
    """Hears and says nothing."""


def test_each_image_is_scored_once_and_never_by_what_learnt_it(plan, dataset, trained):
    done = cross_validate(plan(), quiet)
    assert [fold for fold, *_ in trained] == [0, 1, 2]
    assert {fold: own["miou"] for fold, own in done.done.items()} == {0: 0.1, 1: 0.2, 2: 0.3}
    own = done.intervals()["miou"]
    assert own.mean == pytest.approx(0.2)
    assert own.half_width == pytest.approx(4.302653 * 0.1 / np.sqrt(3), rel=1e-5)
    document = json.loads((done.out / "cross-validation.json").read_text())
    assert document["means"]["miou"]["folds"] == 3
    assert [path.name for path in done.out.iterdir()] == ["cross-validation.json"]


def test_a_fold_is_told_however_its_training_ended_and_once_it_is_kept(plan, monkeypatch):
    """Two of three epochs are trained, as by an early stop."""
    heard = []

    def stopped(_job, hear):
        for epoch in (1, 2):
            hear(epoch, {"miou": epoch / 10})

    def listen(fold, scores):
        kept = json.loads((ours.out / "cross-validation.json").read_text())["folds"]
        assert [each["fold"] for each in kept] == [*range(fold + 1)]
        heard.append((fold, dict(scores)))

    monkeypatch.setattr(module, "retrain", stopped)
    ours = plan(folds=2)
    cross_validate(ours, listen)
    assert heard == [(0, {"miou": 0.2}), (1, {"miou": 0.2})]


def test_folds_are_datasets_of_the_images_of_train_and_val(dataset, tmp_path):
    folds = deal_folds(dataset, 4, seed=1)
    pool = {
        dataset.split(split).image(row).tobytes()
        for split in ("train", "val")
        for row in range(len(dataset.split(split)))
    }
    scored = []
    for fold in range(4):
        own = folds.write(fold, tmp_path / f"fold{fold}")
        val, train, test = (own.split(name) for name in ("val", "train", "test"))
        assert len(val) == folds.size(fold)
        held = {val.image(row).tobytes() for row in range(len(val))}
        learnt = {train.image(row).tobytes() for row in range(len(train))}
        assert held | learnt == pool
        assert not held & learnt
        assert len(test) == len(dataset.split("test"))
        np.testing.assert_array_equal(test.mask(0), dataset.split("test").mask(0))
        scored += held
    assert len(scored) == len(pool)


def test_every_fold_has_its_share_of_a_rare_class():
    classes_of = [frozenset({0, 1}) if n % 10 == 0 else frozenset({0}) for n in range(100)]
    fold_of = stratified_folds(classes_of, 5, seed=3)
    assert sorted(fold_of) == sorted([*range(5)] * 20)
    rare = [fold for fold, found in zip(fold_of, classes_of, strict=True) if 1 in found]
    assert sorted(rare) == sorted([*range(5)] * 2)


def test_what_was_stopped_goes_on_with_the_folds_that_are_missing(plan, trained, monkeypatch):
    whole = cross_validate(plan("whole"), quiet)
    trained.clear()
    real = module.retrain

    def killed(job, hear):
        if job.config.number == 1:
            raise KeyboardInterrupt
        real(job, hear)

    monkeypatch.setattr(module, "retrain", killed)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(plan("cut"), quiet)
    monkeypatch.setattr(module, "retrain", real)
    again = plan("cut")
    assert set(again.done) == {0}
    done = cross_validate(again, quiet)
    assert [fold for fold, *_ in trained] == [0, 1, 2]
    assert done.intervals() == whole.intervals()
    assert cross_validate(plan("cut"), quiet).done == done.done
    assert len(trained) == 3


def test_another_cross_validation_in_the_folder_is_refused(plan, trained, tmp_path):
    cross_validate(plan(), quiet)
    with pytest.raises(UsageError, match=r"another cross-validation \(folds differ\)"):
        plan(folds=4)
    with pytest.raises(UsageError, match=r"another cross-validation \(experiment differ\)"):
        plan(train={"epochs": 4})
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("")
    with pytest.raises(UsageError, match="holds something else"):
        plan("taken")
    (tmp_path / "out" / "cross-validation.json").write_text("{}")
    with pytest.raises(UsageError, match="damaged"):
        plan()


def test_a_fold_that_steers_its_own_training_is_told(plan):
    assert optimism(plan()) == ()
    (stopped,) = optimism(plan("stopped", train={"epochs": 3, "early_stop": {"patience": 2}}))
    assert stopped.startswith("train.early_stop ends a training by the fold that it is scored on")
    assert optimism(plan("cosine", space={**PLAIN["space"], "schedule": "cosine"})) == ()
    both = plan(
        "both",
        space={**PLAIN["space"], "schedule": "plateau"},
        train={"epochs": 3, "early_stop": {"patience": 2}},
    )
    assert [note.split()[0] for note in optimism(both)] == ["train.early_stop", "schedule:"]
    told = [line for line in _plan_lines(both) if line.startswith("warning")]
    assert len(told) == 2


def test_what_cannot_be_dealt_or_trained_is_told(plan, tmp_path):
    with pytest.raises(UsageError, match="--folds: given 1000; allowed: 2 to 300"):
        plan(folds=1000)
    with pytest.raises(UsageError, match=r"train\.workers: given 2; allowed here: 1"):
        plan(train={"epochs": 3, "workers": 2})
    assert not (tmp_path / "out").exists()
