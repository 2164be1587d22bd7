from dataclasses import replace

import pytest

from automl.backend import JobFault
from automl.jobs.compress import CompressJob, CompressOutcome
from automl.jobs.retrain import RetrainJob, RetrainOutcome
from automl.jobs.speed import keep_choice, read_choice
from automl.records import Measurement, SpeedChoice, to_json
from automl.stages import finalists as stage
from automl.stages.finalists import Repeated, Repeats, further_seeds, repeat_finalists
from automl.stages.rank import _ranking
from automl.store.atomic import write_json
from automl.store.layout import StudyFolder


class Workshop:
    """Answers as if it had trained and exported; seeds listed in `failing` do not train."""

    def __init__(self, candidate, failing=()):
        self._candidate = candidate
        self._failing = failing
        self.retrained = []
        self.exported = []

    def __call__(self, job):
        return self._retrain(job) if isinstance(job, RetrainJob) else self._export(job)

    def _retrain(self, job):
        self.retrained.append((job.config.number, job.config.seed, job.epochs))
        if job.config.seed in self._failing:
            return self._failing[job.config.seed]
        return RetrainOutcome(trained=True, summary="trained")

    def _export(self, job: CompressJob):
        self.exported.append((job.name, job.config.seed))
        names = tuple(f"{job.name}-{precision}" for precision in ("fp32", "int8"))
        for name in names:
            made = replace(self._candidate(name, 0.0, 1.0), measurements=())
            write_json(job.context.folder.candidate(name) / "candidate.json", to_json(made))
        return CompressOutcome(candidate_ids=names, summary=f"exported {', '.join(names)}")


@pytest.fixture
def scores(monkeypatch):
    """Scores by the artifact's seed; what was scored, in order."""
    seen = []

    def scored(_study, candidate, split):
        seen.append((candidate.artifact, split))
        seed = int(candidate.artifact.split("/")[1].removeprefix("seed"))
        value = (seed - 1_000_000) / 100 + (0.5 if split == "val" else 0.25)
        score = Measurement(metric="miou", value=value, split=split)
        return replace(candidate, measurements=(*candidate.measurements, score))

    monkeypatch.setattr(stage, "scored", scored)
    return seen


@pytest.fixture
def repeat(study, backend_of, result, candidate, scores):
    """Repeat a study whose best is a student of trial 1 and whose default is trial 0."""

    def run(workshop, *, seeds=2, best=("trial1-student1-int8", "student", "int8")):
        of = study(
            export={"finalist_seeds": seeds, "best_accuracy_share": 1.0}, compress={"winners": 3}
        )
        of = replace(of, backend=backend_of(workshop))
        name, kind, precision = best
        field = [
            candidate("trial0-fp32", 0.60, 10.0, trial=0),
            candidate("trial1-fp32", 0.65, 9.0),
            candidate(name, 0.70, 5.0, kind=kind, precision=precision, size_mb=1.0),
        ]
        ranking = _ranking(of, field)
        assert ranking.standing.best == name
        results = [result(0, 0.6), result(1, 0.7, epochs=2), result(2, 0.1)]
        return of, ranking, repeat_finalists(of, results, ranking)

    return run


def test_without_further_seeds_nothing_is_run(repeat, candidate):
    workshop = Workshop(candidate)
    _, _, repeats = repeat(workshop, seeds=0)
    assert repeats == Repeats(metric="miou")
    assert workshop.retrained == workshop.exported == []


def test_the_whole_lineage_of_best_and_default_is_repeated_and_nothing_else(
    repeat, candidate, scores
):
    workshop = Workshop(candidate)
    of, ranking, repeats = repeat(workshop)
    # The teacher of the best student trains as long as it did in the search.
    assert sorted(workshop.retrained) == [
        (0, 1_000_000, 3),
        (0, 1_000_001, 3),
        (1, 1_000_000, 2),
        (1, 1_000_001, 2),
    ]
    assert sorted(workshop.exported) == [
        ("trial0", 1_000_000),
        ("trial0", 1_000_001),
        ("trial1-student1", 1_000_000),
        ("trial1-student1", 1_000_001),
    ]
    names = [file.candidate.candidate_id for file in repeats.files]
    assert names == ["trial1-student1-int8", "trial0-fp32"]
    best = repeats.of(ranking.standing.best)
    assert best.values("miou", "val") == {1_000_000: 0.5, 1_000_001: 0.51}
    assert best.values("miou", "test") == {1_000_000: 0.25, 1_000_001: 0.26}
    artifact = "finalists/seed1000000/candidates/trial1-student1-int8/model.onnx"
    assert best.again[1_000_000].artifact == artifact
    assert scores.count((artifact, "test")) == 1
    assert any("again with 2 further seeds" in line for line in of.narrator.lines)


def test_a_trial_and_its_student_train_the_trial_once(repeat, candidate):
    workshop = Workshop(candidate)
    repeat(workshop, best=("trial0-student1-fp32", "student", "fp32"))
    assert sorted(workshop.retrained) == [(0, 1_000_000, 3), (0, 1_000_001, 3)]
    assert {name for name, _ in workshop.exported} == {"trial0", "trial0-student1"}


def test_further_seeds_train_in_the_manner_that_was_chosen_for_the_first(
    study, result, candidate, backend_of, scores
):
    of = study(export={"finalist_seeds": 1, "best_accuracy_share": 1.0}, compress={"winners": 3})
    teacher, student = SpeedChoice(precision="bf16"), SpeedChoice(precision="fp32")
    results = [result(0, 0.6), result(1, 0.7, epochs=2)]
    keep_choice(of.folder.trial(results[1].config.trial_id), teacher)
    keep_choice(of.folder.trial("trial1-student1"), student)
    field = [
        candidate("trial0-fp32", 0.60, 10.0, trial=0),
        candidate("trial1-student1-fp32", 0.70, 5.0, kind="student", size_mb=1.0),
    ]
    of = replace(of, backend=backend_of(Workshop(candidate)))
    repeat_finalists(of, results, _ranking(of, field))
    trials = StudyFolder(of.folder.finalists / "seed1000000").trials
    found = {
        path.parent.name.split("-")[0]: read_choice(path.parent)
        for path in trials.glob("*/speed.json")
    }
    assert found == {"0001": teacher, "trial1": student}


@pytest.mark.parametrize(
    "fault",
    [JobFault(reason="lost"), RetrainOutcome(trained=False, summary="failed: TrialError: NaN")],
)
def test_a_seed_that_fails_is_told_and_left_out(repeat, candidate, fault):
    workshop = Workshop(candidate, failing={1_000_000: fault})
    of, ranking, repeats = repeat(workshop)
    best = repeats.of(ranking.standing.best)
    assert list(best.again) == [1_000_001]
    assert repeats.wanted == 2
    assert {seed for _, seed in workshop.exported} == {1_000_001}
    assert any("seed 1000000: failed: " in line for line in of.narrator.lines)


def test_where_every_seed_fails_the_study_goes_on(repeat, candidate):
    fault = RetrainOutcome(trained=False, summary="failed")
    workshop = Workshop(candidate, failing={1_000_000: fault, 1_000_001: fault})
    _, _, repeats = repeat(workshop)
    assert (repeats.files, repeats.wanted) == ((), 2)


def test_more_seeds_keep_those_there_were(study):
    few, many = (
        further_seeds(study(export={"finalist_seeds": n}, search={"seed": 5}).experiment)
        for n in (2, 4)
    )
    assert many[:2] == few == (1_000_005, 1_000_006)


def test_a_gain_is_paired_by_seed(candidate):
    def again(**values):
        return {int(seed[1:]): candidate(seed, miou, 1.0) for seed, miou in values.items()}

    better = Repeated(candidate=candidate("best", 0.9, 1.0), again=again(s1=0.8, s2=0.6, s3=0.5))
    other = Repeated(candidate=candidate("default", 0.5, 1.0), again=again(s1=0.7, s2=0.4))
    repeats = Repeats(metric="miou", wanted=3, files=(better, other))
    gain = repeats.gain("best", "default", "val")
    assert (gain.count, gain.mean) == (2, pytest.approx(0.15))
    # The two differences are 0.1 and 0.2: t(1) * 0.0707 / sqrt(2).
    assert gain.half_width == pytest.approx(12.706 * 0.05, abs=1e-4)
    assert repeats.gain("best", "best", "val") is None
    assert repeats.gain("best", None, "val") is None
