import pytest

from automl.benchmark import worker
from automl.benchmark.job import Entry, Job, digest
from automl.benchmark.worker import measure_apart
from automl.errors import UsageError


def job_of(content, **changes):
    entry = Entry(label="a", artifact=digest(content), runtime="onnxruntime", shape=(32, 48, 3))
    return Job(**({"entries": (entry,), "threads": 1, "rounds": 2} | changes))


def test_a_job_is_timed_in_a_process_of_its_own(artifact):
    content = artifact.read_bytes()
    outcome = measure_apart(job_of(content), {digest(content): content}, seconds=60)
    assert outcome.timings[0].stats.p50_ms > 0


def test_more_threads_than_cores_are_refused_there(artifact):
    content = artifact.read_bytes()
    with pytest.raises(UsageError, match=r"threads: at most the .* got 1000"):
        measure_apart(job_of(content, threads=1000), {digest(content): content}, seconds=60)


def test_a_job_that_is_not_wanted_any_more_is_ended(artifact):
    content = artifact.read_bytes()
    job = job_of(content, rounds=100_000)
    with pytest.raises(UsageError, match="not wanted any more"):
        measure_apart(job, {digest(content): content}, seconds=60, wanted=lambda: False)


def test_a_process_that_fails_is_told_with_its_last_words(monkeypatch):
    monkeypatch.setattr(worker.sys, "executable", "/bin/false")
    content = bytes(1 << 20)
    with pytest.raises(UsageError, match="ended with exit code 1: no word"):
        measure_apart(job_of(content), {digest(content): content}, seconds=60)


def test_an_artifact_that_the_network_does_not_fit_is_told(artifact):
    content = artifact.read_bytes()
    entry = Entry(label="a", artifact=digest(content), runtime="onnxruntime", shape=(1, 32, 48, 3))
    job = Job(entries=(entry,), threads=1, rounds=1)
    with pytest.raises(UsageError, match="a: cannot be run on 1 x 32 x 48 x 3"):
        measure_apart(job, {digest(content): content}, seconds=60)
