"""A search sent to a cluster as a job; the command that sent it dies, and the search does not."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from automl.errors import UsageError
from automl.store.journal import read_journal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:ray"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def dashboard(environment) -> Iterator[str]:
    """The address of the dashboard of a cluster of one node, in processes of its own."""
    port, own = free_port(), free_port()
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="ray-") as folder:
        # What a job's `python` finds, as on a cluster's nodes.
        path = f"{Path(sys.executable).parent}:{environment['PATH']}"
        root = str(Path(__file__).parents[2])
        head = subprocess.Popen(
            [
                Path(sys.executable).parent / "ray",
                *("start", "--head", "--block", "--num-cpus=1", f"--port={own}"),
                *("--dashboard-host=127.0.0.1", f"--dashboard-port={port}"),
                *("--dashboard-agent-listen-port", str(free_port())),
                *("--object-store-memory=100000000", f"--temp-dir={folder}"),
                "--disable-usage-stats",
            ],
            env={**environment, "PATH": path, "PYTHONPATH": root},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_for(lambda: answers(port))
            yield f"http://127.0.0.1:{port}"
        finally:
            head.send_signal(signal.SIGTERM)
            head.wait(60)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def epochs(study: Path) -> int:
    return sum(
        event["kind"] == "message" and event["message"]["kind"] == "epoch"
        for event in read_journal(study / "journal.jsonl")
    )


def test_a_search_outlives_the_command_that_sent_it(
    dashboard, cli, start_cli, tiny_space, tmp_path, monkeypatch
):
    study = tmp_path / "study"
    words = ["--space", tiny_space, "--out", study, "--address", dashboard]
    sender = start_cli("submit", *words, "--trials", 2, "--epochs", 2000)
    job_id = sender.stdout.readline().split()[1]
    assert job_id.startswith("automl-study-")
    wait_for(lambda: epochs(study) > 0)
    # The laptop is closed.
    os.kill(sender.pid, signal.SIGKILL)
    sender.wait()
    seen = epochs(study)
    wait_for(lambda: epochs(study) > seen)

    told = cli("status", "--address", dashboard)
    assert f"{job_id}  running" in told.stdout, told.stderr
    assert str(study) in told.stdout
    stopped = cli("stop", job_id, "--address", dashboard)
    assert stopped.returncode == 0, stopped.stderr
    watched = cli("watch", job_id, "--address", dashboard)
    assert "budget     2 trials of at most 2000 epochs" in watched.stdout, watched.stderr
    assert f"{job_id} has stopped" in watched.stdout
    # It left by itself, as after Ctrl-C.
    assert "To continue:" in watched.stdout

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    from automl.distributed.submission import Jobs

    jobs = Jobs(dashboard)
    assert [(job.job_id, job.is_over) for job in jobs.all()] == [(job_id, True)]
    with pytest.raises(UsageError, match=f"given automl-x; allowed: {job_id}"):
        jobs.one("automl-x")
