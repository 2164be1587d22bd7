"""The agent as a study's stopwatch: what is waited for, what ends a trial, and what a study."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import pytest

from automl.agent_stopwatch import AgentStopwatch, DeviceAgent, Patience
from automl.benchmark.job import Outcome
from automl.benchmark.remote import AbsentError, BusyError, JobError, Remote
from automl.bundle import in_runtime
from automl.errors import StudyError, TrialError, UsageError
from automl.jobs.stopwatch import Timing
from automl.measurement.latency import LatencyStats

TOKEN = "0123456789abcdef" * 2
TIMING = Timing(size=(32, 48), threads=1, rounds=7, warmup=2, seed=3)
STATS = LatencyStats(p50_ms=2, p95_ms=3, p99_ms=4, cpu_p50_ms=2, spread_ms=0, cpu_spread_ms=0)


class Time:
    """A clock that goes on only while someone sleeps."""

    def __init__(self):
        self.now, self.slept = 0.0, []

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.slept.append(seconds)


class Script:
    """In place of a connection: raises or answers what it is told, in order, then the last."""

    def __init__(self, monkeypatch, answers):
        self.answers, self.jobs = list(answers), []
        monkeypatch.setattr(Remote, "measure", lambda _remote, job, artifacts: self(job, artifacts))

    def __call__(self, job, artifacts):
        self.jobs.append((job, artifacts))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        timings = tuple(SimpleNamespace(stats=STATS) for _ in job.entries)
        return SimpleNamespace(timings=timings, device=SimpleNamespace(cpu=answer))


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


@pytest.fixture
def passing():
    return Time()


@pytest.fixture
def stopwatch(token_file, passing):
    patience = Patience(
        absent_s=20, busy_s=100, first_pause_s=1, longest_pause_s=8, **vars_of(passing)
    )
    return AgentStopwatch(
        DeviceAgent(
            target="tcp://127.0.0.1:9", token_file=token_file, processor="it", patience=patience
        )
    )


def vars_of(passing):
    return {"clock": passing.clock, "sleep": passing.sleep}


@pytest.fixture
def files(tmp_path):
    made = {name: tmp_path / f"{name}.onnx" for name in ("reference", "candidate")}
    for name, path in made.items():
        path.write_bytes(name.encode())
    return made


def test_all_files_are_one_job_as_the_study_times(stopwatch, files, monkeypatch):
    script = Script(monkeypatch, ["it"])
    assert stopwatch.time(files, TIMING) == {"reference": STATS, "candidate": STATS}
    ((job, artifacts),) = script.jobs
    assert [artifacts[entry.artifact] for entry in job.entries] == [b"reference", b"candidate"]
    assert {(entry.runtime, entry.shape) for entry in job.entries} == {("onnxruntime", (32, 48, 3))}
    assert (job.threads, job.rounds, job.warmup, job.seed) == (1, 7, 2, 3)


def test_openvino_has_there_the_form_that_it_has_here(stopwatch, files, monkeypatch):
    made = []

    def batched(content, *, size, batch):
        made.append((size, batch))
        return content + b" for a batch"

    monkeypatch.setattr(in_runtime, "batched", batched)
    script = Script(monkeypatch, ["it"])
    stopwatch.time(files, replace(TIMING, runtime="openvino"))
    ((job, artifacts),) = script.jobs
    assert set(artifacts.values()) == {b"reference for a batch", b"candidate for a batch"}
    assert made == [(TIMING.size, 1)] * 2
    assert {(e.runtime, e.shape) for e in job.entries} == {("openvino", (1, 32, 48, 3))}


def test_a_busy_agent_is_waited_for_with_growing_pauses(stopwatch, files, passing, monkeypatch):
    Script(monkeypatch, [*[BusyError("at work")] * 5, "it"])
    assert stopwatch.time(files, TIMING)
    assert passing.slept == [1, 2, 4, 8, 8]


def test_a_lost_agent_is_waited_for_from_when_it_was_lost(stopwatch, files, passing, monkeypatch):
    """It is absent for 15 s twice, with a sign of life between: 20 s in a row would be too long."""
    lost = [AbsentError("gone")] * 4
    Script(monkeypatch, [*lost, BusyError("at work"), *lost, "it"])
    assert stopwatch.time(files, TIMING)
    assert passing.slept == [1, 2, 4, 8, 1, 1, 2, 4, 8]


@pytest.mark.parametrize(("error", "longest"), [(AbsentError("gone"), 20), (BusyError("on"), 100)])
def test_patience_ends_with_the_study_which_can_go_on(
    stopwatch, files, passing, monkeypatch, error, longest
):
    Script(monkeypatch, [error])
    with pytest.raises(StudyError, match=f"{error}.*the same command goes on"):
        stopwatch.time(files, TIMING)
    assert longest - 8 <= passing.now <= longest


def test_a_job_that_cannot_be_done_costs_one_trial(stopwatch, files, passing, monkeypatch):
    Script(monkeypatch, [JobError("too large")])
    with pytest.raises(TrialError, match="too large"):
        stopwatch.time(files, TIMING)
    assert passing.slept == []


def test_another_device_at_the_address_ends_the_study(stopwatch, files, monkeypatch):
    Script(monkeypatch, ["another"])
    with pytest.raises(StudyError, match="another device answers than at the start: another, not"):
        stopwatch.time(files, TIMING)


def test_a_token_that_is_gone_ends_the_study(stopwatch, files, token_file, monkeypatch):
    script = Script(monkeypatch, ["it"])
    token_file.unlink()
    with pytest.raises(StudyError, match="no such token file"):
        stopwatch.time(files, TIMING)
    assert script.jobs == []


def test_the_token_goes_nowhere(stopwatch, token_file):
    told = pickle.dumps(
        AgentStopwatch(DeviceAgent(target="t", token_file=token_file, processor=""))
    )
    assert TOKEN.encode() not in told
    assert TOKEN not in repr(stopwatch)
    assert TOKEN not in stopwatch.describe()


@pytest.fixture
def device(monkeypatch):
    found = SimpleNamespace(cpu="it", cores=2, runtimes={"onnxruntime": "1"})
    monkeypatch.setattr(Remote, "device", lambda _remote: found)


def test_an_agent_is_found_with_its_processor(device, token_file, monkeypatch):
    monkeypatch.chdir(token_file.parent)
    from pathlib import Path

    agent = DeviceAgent.found("tcp://a:1", Path("token"), runtime="onnxruntime", threads=2)
    assert (agent.processor, agent.token_file) == ("it", token_file), "jobs have another folder"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"threads": 3}, "given 3 threads; allowed: at most the 2 cores"),
        ({"runtime": "openvino"}, "openvino: not available here"),
    ],
)
def test_what_the_device_cannot_do_is_refused_before_any_work(device, token_file, asked, told):
    with pytest.raises(UsageError, match=told):
        DeviceAgent.found(
            "tcp://a:1", token_file, **{"runtime": "onnxruntime", "threads": 1, **asked}
        )


def test_an_outcome_is_given_as_it_came():
    outcome = object.__new__(Outcome)
    assert Patience().with_retries(lambda: outcome) is outcome
