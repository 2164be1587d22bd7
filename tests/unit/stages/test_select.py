"""From ended trials to compression jobs, and from their outcomes to candidates."""

import json
from dataclasses import replace

import pytest

from automl.backend import JobFault
from automl.errors import StudyError
from automl.jobs.compress import CompressOutcome
from automl.records import TrialStatus, to_json
from automl.stages.compress import compress, compress_jobs, select_winners
from automl.stages.search import rankable

STOPPED = TrialStatus.STOPPED


def numbers(results):
    return [result.config.number for result in results]


def names(jobs):
    return [job.name for job in jobs]


def test_the_most_accurate_wins_then_the_front_then_the_rest(study, result):
    trials = [
        result(0, 0.50, 20.0),  # dominated by 3
        result(1, 0.40, 5.0),  # front
        result(2, 0.70, 30.0),  # front, the most accurate
        result(3, 0.60, 10.0),  # front
        result(4, 0.55, 40.0),  # dominated, though more accurate than 1
    ]
    for winners, expected in [(1, [2]), (2, [2, 3]), (3, [2, 3, 1]), (5, [2, 3, 1, 4, 0])]:
        of = study(compress={"winners": winners})
        assert numbers(select_winners(of, trials)) == expected
    assert len(select_winners(study(compress={"winners": 9}), trials)) == 5


def test_those_who_trained_longer_come_first(study, result):
    trials = [
        result(0, 0.8, status=STOPPED, epochs=1),
        result(1, 0.9, status=STOPPED, epochs=1),
        result(2, 0.7, status=STOPPED, epochs=2),
        result(3, 0.3),
    ]
    assert numbers(select_winners(study(compress={"winners": 4}), trials)) == [3, 2, 1, 0]
    assert numbers(select_winners(study(compress={"winners": 2}), trials[:2])) == [1, 0]


def test_what_failed_or_never_trained_cannot_be_ranked(result):
    trials = [
        result(0, None, status=TrialStatus.INFEASIBLE),
        result(1, 0.9, status=TrialStatus.FAILED),
        result(2, 0.1, status=STOPPED),
        result(3, None, status=STOPPED),
        result(4, 0.2),
    ]
    assert numbers(rankable(trials)) == [4, 2]


def test_a_family_follows_the_declared_students_and_winners_teach_together(study, result):
    trials = [result(0, 0.1), result(1, 0.9), result(2, 0.8)]
    family = {"ratios": [0.3, 0.6]}
    declared = {"winners": 2, "students": [{}], "family": family}
    alone = compress_jobs(study(compress=declared), trials)
    taught = [job for job in alone if job.student is not None]
    assert names(taught) == [f"trial{n}-student{s}" for n in (1, 2) for s in (1, 2, 3)]
    assert all(job.peers == () for job in alone)
    together = compress_jobs(study(compress={**declared, "teachers": "winners"}), trials)
    peers = {job.name: names(job.peers) for job in together}
    assert peers["trial1-student2"] == ["trial2"]
    assert peers["trial2-student3"] == ["trial1"]
    assert peers["trial1"] == []


def test_each_winner_is_exported_and_has_its_students(study, result):
    of = study(compress={"winners": 2, "students": [{}, {"pruning_ratio": 0.5}]})
    trials = [result(0, 0.1, 50.0), result(1, 0.9), result(2, 0.5, 1.0)]
    assert names(compress_jobs(of, trials)) == [
        "trial0",  # the default, to compare with; without students
        "trial1",
        "trial2",
        "trial1-student1",
        "trial1-student2",
        "trial2-student1",
        "trial2-student2",
    ]


def test_every_undominated_trial_of_full_length_is_exported(study, result):
    of = study(compress={"winners": 1, "students": [{}]})
    trials = [
        result(0, 0.5, 50.0),
        result(1, 0.9, 40.0),
        result(2, 0.6, 10.0),  # undominated
        result(3, 0.55, 20.0),  # dominated by 2
        result(4, 0.95, 1.0, status=STOPPED, epochs=2),  # not of full length
        result(5, 0.3, 5.0),  # undominated: the fastest
    ]
    expected = ["trial0", "trial1", "trial2", "trial5", "trial1-student1"]
    assert names(compress_jobs(of, trials)) == expected


def test_a_winning_default_is_exported_once(study, result):
    of = study(compress={"winners": 1, "students": []})
    assert names(compress_jobs(of, [result(0, 0.9), result(1, 0.1)])) == ["trial0"]


def test_a_default_that_failed_is_not_exported(study, result):
    of = study(compress={"winners": 1, "students": []})
    trials = [result(0, None, status=TrialStatus.FAILED), result(1, 0.1)]
    assert names(compress_jobs(of, trials)) == ["trial1"]


def test_a_failed_job_costs_only_its_own_candidates(study, result, candidate, backend_of):
    of = study(compress={"winners": 2, "students": []})

    def answer(job):
        if job.name == "trial0":
            return CompressOutcome(candidate_ids=(), summary="failed: no luck")
        folder = of.folder.candidate("trial1-fp32")
        folder.mkdir(parents=True)
        (folder / "candidate.json").write_text(json.dumps(to_json(made)))
        return CompressOutcome(candidate_ids=("trial1-fp32",), summary="exported")

    made = candidate("trial1-fp32", 0.5, 10.0)
    of = replace(of, backend=backend_of(answer))
    assert compress(of, [result(0, 0.9), result(1, 0.8, 5.0)]) == [made]
    assert of.narrator.lines == [
        "compress: 2 trained networks to export, 0 students to distil for 6 epochs each",
        "compress: trial0: failed: no luck",
        "compress: trial1: exported",
    ]


def test_a_lost_process_costs_only_its_own_candidates(study, result, candidate, backend_of):
    def answer(job):
        if job.name == "trial0":
            return JobFault(reason="WorkerCrashedError: out of memory")
        return CompressOutcome(candidate_ids=(), summary="failed: x")

    of = replace(study(compress={"students": []}), backend=backend_of(answer))
    with pytest.raises(StudyError):
        compress(of, [result(0, 0.9), result(1, 0.8, 5.0)])
    told = "compress: trial0: failed: WorkerCrashedError: out of memory"
    assert told in of.narrator.lines


def test_no_candidate_at_all_is_a_fault_of_the_study(study, result, backend_of):
    nothing = backend_of(lambda _job: CompressOutcome(candidate_ids=(), summary="failed: x"))
    of = replace(study(), backend=nothing)
    with pytest.raises(StudyError, match="no trial could be exported"):
        compress(of, [result(0, 0.9)])
