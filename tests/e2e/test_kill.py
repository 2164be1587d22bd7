"""Kills: a search that dies at any moment goes on where it stopped."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from automl.store.journal import read_journal

pytestmark = pytest.mark.slow


@pytest.mark.ray
@pytest.mark.parametrize("backend", ["ray", "local"])
def test_a_killed_search_goes_on_and_repeats_no_finished_epoch(
    cli, environment, tiny_space, tmp_path, backend
):
    out = tmp_path / "study"
    words = ["search", "--space", str(tiny_space), "--out", str(out), "--epochs", "3"]
    words += ["--local"] if backend == "local" else []
    process = start(words, environment, tmp_path)
    wait_for(lambda: num_epochs(out) >= 3, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = read_journal(out / "journal.jsonl")

    again = cli(*words)
    assert again.returncode == 0, again.stdout + again.stderr
    after = read_journal(out / "journal.jsonl")
    assert after[: len(before)] == before
    epochs = Counter(
        (event["trial_id"], event["message"]["epoch"])
        for event in after
        if event["kind"] == "message" and event["message"]["kind"] == "epoch"
    )
    assert set(epochs.values()) == {1}
    proposed = [e["config"]["number"] for e in after if e["kind"] == "proposed"]
    assert proposed == [0, 1, 2]
    assert (out / "bundles" / "best" / "bundle.json").exists()


def test_ctrl_c_says_how_to_continue(cli, environment, tiny_space, tmp_path):
    out = tmp_path / "study"
    words = ["search", "--space", str(tiny_space), "--out", str(out), "--local"]
    process = start(words, environment, tmp_path)
    wait_for(lambda: num_epochs(out) >= 1, process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "To continue: automl search" in told
    assert "Traceback" not in told
    again = cli(*words)
    assert again.returncode == 0, again.stdout + again.stderr


def start(words: list[str], environment: dict[str, str], cwd: Path) -> subprocess.Popen[str]:
    program = "from automl.cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env=environment,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 180
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def num_epochs(out: Path) -> int:
    events = read_journal(out / "journal.jsonl")
    return sum(e["kind"] == "message" and e["message"]["kind"] == "epoch" for e in events)
