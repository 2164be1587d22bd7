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
@pytest.mark.exhaustive
def test_a_trial_whose_process_is_killed_is_started_again(
    environment, tiny_space, tmp_path, neighbour
):
    out = tmp_path / "study"
    words = ["--space", str(tiny_space), "--out", str(out), "--trials", "2"]
    search_with_a_kill(environment, words, out, "costs", b"ray::ImplicitFunc")
    rows = pq.read_table(out / "trials.parquet").to_pylist()
    assert [row["number"] for row in rows] == [0, 1]
    assert {row["status"] for row in rows} <= {"completed", "stopped"}
    assert rows[0]["status"] == "completed"


#: One network, long enough to be hit while it trains; nothing to compress.
RANKED = """
data: {source: "builtin:surface-defects", size: [32, 32]}
space: {encoder: mobilenetv3_small_050, decoder: fpn_lite, decoder_width: 16, batch_size: 16}
search: {trials: 1}
train: {epochs: 4, workers: 2}
compress: {winners: 1, students: [], int8: false}
target: {rounds: 3}
export: {golden_samples: 2}
"""


@pytest.mark.ray
def test_a_group_whose_rank_is_killed_goes_on_from_its_last_checkpoint(
    environment, tmp_path, neighbour
):
    out, space = tmp_path / "study", tmp_path / "ranked.yaml"
    space.write_text(RANKED)
    words = ["--space", str(space), "--out", str(out)]
    seen, written = search_with_a_kill(environment, words, out, "epoch", b"RayTrainWorker")
    reached = max(message["epoch"] for message in seen if message["kind"] == "epoch")
    epochs = [message["epoch"] for message in messages_of(out) if message["kind"] == "epoch"]
    assert reached < 4, "the rank was killed too late to be missed"
    assert epochs == [1, 2, 3, 4]
    # A study does not record an epoch that is told twice: its checkpoint would be written twice.
    assert max(written) > reached, "what was written after the kill was not watched"
    trained_again = [epoch for epoch, times in written.items() if len(times) > 1]
    assert not trained_again
    (row,) = pq.read_table(out / "trials.parquet").to_pylist()
    assert row["status"] == "completed"


def search_with_a_kill(environment, words, out, awaited, title):
    """Search, and kill a process of a title once a message has come.

    Gives the messages that there were then, and by epoch the times at which a checkpoint of it was
    written, before and after.
    """
    program = "from automl.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "search", *words],
        env=environment,
        cwd=out.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    written = {}
    deadline = time.monotonic() + 180
    while all(message["kind"] != awaited for message in messages_of(out)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        note_checkpoints(out, written)
        time.sleep(0.02)
    victims = processes_below(process.pid, title)
    assert victims
    os.kill(victims[0], signal.SIGKILL)
    seen = messages_of(out)
    deadline = time.monotonic() + 250
    while process.poll() is None:
        assert time.monotonic() < deadline
        note_checkpoints(out, written)
        time.sleep(0.02)
    printed, told = process.communicate()
    assert process.returncode == 0, printed + told
    return seen, written


def note_checkpoints(out, written):
    # Of a file: a folder changes once more when its checkpoint is removed.
    for file in out.glob("trials/*/checkpoint/epoch-*/state.json"):
        try:
            when = file.stat().st_mtime_ns
        except FileNotFoundError:
            continue
        written.setdefault(int(file.parent.name.removeprefix("epoch-")), set()).add(when)


def messages_of(out):
    events = read_journal(out / "journal.jsonl")
    return [event["message"] for event in events if event["kind"] == "message"]


def processes_below(driver: int, named: bytes) -> list[int]:
    """The processes below the process `driver` in whose title `named` is."""
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
        if named in title and driver in ancestors(process, parents)
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
