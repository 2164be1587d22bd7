"""Faults under a running search, and what is told before one starts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from automl.store.journal import read_journal

pytestmark = pytest.mark.slow


@pytest.fixture
def neighbour(environment):
    """Another Ray cluster on the machine, that is none of a search's business."""
    program = (
        "import ray, sys; ray.init(address='local', num_cpus=1, include_dashboard=False);"
        "print('here', flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, **pipes) as process:
        assert process.stdout.readline().strip() == b"here"
        yield
        process.stdin.close()


@pytest.mark.ray
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.exhaustive), 2])
def test_a_trial_whose_process_is_killed_is_started_again(
    environment, tiny_space, tmp_path, neighbour, workers
):
    out = tmp_path / "study"
    program = "from automl.cli.main import main; main()"
    words = ["search", "--space", str(tiny_space), "--out", str(out), "--trials", "2"]
    words += ["--workers-per-trial", str(workers)]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 180
    awaited = "costs" if workers == 1 else "epoch"
    while not any(
        event["kind"] == "message" and event["message"]["kind"] == awaited
        for event in read_journal(out / "journal.jsonl")
    ):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    victims = trial_processes(process.pid)
    assert victims
    os.kill(victims[0], signal.SIGKILL)
    printed, told = process.communicate(timeout=250)
    assert process.returncode == 0, printed + told
    rows = pq.read_table(out / "trials.parquet").to_pylist()
    assert [row["number"] for row in rows] == [0, 1]
    assert {row["status"] for row in rows} <= {"completed", "stopped"}
    assert rows[0]["status"] == "completed"


def trial_processes(driver: int) -> list[int]:
    """The processes of Ray trials below the process `driver`."""
    parents: dict[int, int] = {}
    titles: dict[int, bytes] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
            titles[int(folder.name)] = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    return [
        process
        for process, title in titles.items()
        if title.startswith(b"ray::ImplicitFunc") and driver in ancestors(process, parents)
    ]


def ancestors(process: int, parents: dict[int, int]) -> set[int]:
    found = set()
    while process in parents:
        process = parents[process]
        found.add(process)
    return found


@pytest.mark.ray
def test_relative_paths_mean_in_a_worker_what_they_mean_to_the_user(cli, tiny_space, tmp_path):
    imported = cli("data", "import", "builtin:surface-defects", "imported", "--size", 32, 32)
    assert imported.returncode == 0, imported.stderr
    words = ["search", "--space", tiny_space.name, "--data", "imported", "--out", "study"]
    searched = cli(*words, "--trials", 1)
    assert searched.returncode == 0, searched.stdout + searched.stderr
    assert (tmp_path / "study" / "bundles" / "smallest" / "model.onnx").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("encoder: resnet81", "resnet18"),
        ("encoder: hrnet_w18_small\n  decoder: deeplabv3plus", "deeplabv3plus"),
        ("pretrained: weights/missing.safetensors", "weights/missing.safetensors"),
        ("batch_size: {choice: [1, 8]}\ntrain: {workers: 2}", "batch_size"),
    ],
)
def test_what_cannot_be_built_is_told_before_any_trial(cli, tmp_path, line, told):
    (tmp_path / "wrong.yaml").write_text(f"data: {{size: [32, 32]}}\nspace:\n  {line}\n")
    done = cli("search", "--space", "wrong.yaml", "--out", "study", "--local")
    assert done.returncode == 2, done.stdout + done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "study" / "journal.jsonl").exists()
