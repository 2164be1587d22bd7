"""Kills: a search that dies at any moment goes on where it stopped."""

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from automl.store.journal import read_journal

pytestmark = pytest.mark.slow


@pytest.mark.ray
@pytest.mark.parametrize("backend", ["ray", pytest.param("local", marks=pytest.mark.exhaustive)])
def test_a_killed_search_goes_on_and_repeats_no_finished_epoch(
    cli, environment, tiny_space, tmp_path, backend
):
    out = tmp_path / "study"
    words = ["search", "--space", str(tiny_space), "--out", str(out), "--epochs", "3"]
    words += ["--local", "--track", "tensorboard"] if backend == "local" else []
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
    if backend == "local":
        assert followed(out / "tensorboard") == set(epochs)


def followed(folder: Path) -> set[tuple[str, int]]:
    """The epochs that TensorBoard shows, each with its trial."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorBoard's own, at import
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    seen: list[tuple[str, int]] = []
    for run in sorted(folder.glob("0*")):
        reader = EventAccumulator(str(run))
        reader.Reload()
        seen += [(run.name, point.step) for point in reader.Scalars("epoch/miou")]
    assert len(seen) == len(set(seen))
    return set(seen)


@pytest.mark.timeout(900)
@pytest.mark.exhaustive  # each kind of kill alone is in every run
def test_many_kills_at_any_moment_change_nothing(cli, environment, tiny_space, tmp_path):
    """Six SIGKILLs of one study, then what an undisturbed run finds, trial by trial."""
    # Latency differs from run to run; parameters do not.
    tiny_space.write_text(
        tiny_space.read_text().replace("{trials: 3}", "{trials: 6, eta: 2}")
        + "objectives: {miou: maximize, params_m: minimize}\n"
    )
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    words = ["search", "--space", str(tiny_space), "--local", "--epochs", "3", "--out"]
    expected = cli(*words, undisturbed)
    assert expected.returncode == 0, expected.stdout + expected.stderr
    rng = random.Random(0)
    num_kills = 0
    for _ in range(6):
        process = start([*words, str(killed)], environment, tmp_path)
        seen = num_events(killed)
        wait_for(lambda: num_events(killed) > seen or process.poll() is not None, process)  # noqa: B023
        time.sleep(rng.uniform(0.0, 0.7))
        if process.poll() is None:
            num_kills += 1
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert num_kills >= 3
    again = cli(*words, killed)
    assert again.returncode == 0, again.stdout + again.stderr
    columns = ["number", "trial_id", "status", "epochs", "miou", "params_m", "reason"]
    rows, undisturbed_rows = (
        pq.read_table(folder / "trials.parquet", columns=columns).to_pylist()
        for folder in (killed, undisturbed)
    )
    assert rows == undisturbed_rows
    epochs = Counter(
        (event["trial_id"], event["message"]["epoch"])
        for event in read_journal(killed / "journal.jsonl")
        if event["kind"] == "message" and event["message"]["kind"] == "epoch"
    )
    assert set(epochs.values()) == {1}


@pytest.mark.ray
@pytest.mark.parametrize("backend", [pytest.param("ray", marks=pytest.mark.exhaustive), "local"])
def test_ctrl_c_says_how_to_continue(cli, environment, tiny_space, tmp_path, backend):
    out = tmp_path / "study"
    words = ["search", "--space", str(tiny_space), "--out", str(out)]
    words += ["--local"] if backend == "local" else []
    process = start(words, environment, tmp_path)
    wait_for(lambda: num_epochs(out) >= 1, process)
    # As a terminal does it: the whole foreground group hears of it.
    os.killpg(process.pid, signal.SIGINT)
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


def num_events(out: Path) -> int:
    return len(read_journal(out / "journal.jsonl"))


def num_epochs(out: Path) -> int:
    events = read_journal(out / "journal.jsonl")
    return sum(e["kind"] == "message" and e["message"]["kind"] == "epoch" for e in events)
