"""A trial again, and finalists again, as a user asks for them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from automl.store.journal import Journal, read_journal

pytestmark = pytest.mark.slow


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in root.rglob("*")
    }


def test_a_trial_is_reproduced_and_a_record_that_differs_is_found(cli, tiny_space, tmp_path):
    out = tmp_path / "study"
    searched = cli("search", "--space", tiny_space, "--out", out, "--local", "--trials", 2)
    assert searched.returncode == 0, searched.stdout + searched.stderr
    before = snapshot(out)

    again = cli("reproduce", out, 0, "--out", "kept", blocked=["ray"])
    assert again.returncode == 0, again.stdout + again.stderr
    assert "identical: all " in again.stdout
    assert "the same packages, CPU and threads" in again.stdout
    assert [line.split()[0] for line in table_of(again.stdout)] == ["1", "2"]
    assert (tmp_path / "kept" / "epoch-00002" / "model.safetensors").exists()
    assert snapshot(out) == before, "the study is only read"

    short = cli("reproduce", out, 0, "--epochs-only", 1)
    assert short.returncode == 0, short.stdout + short.stderr
    assert [line.split()[0] for line in table_of(short.stdout)] == ["1"]

    forge(out / "journal.jsonl", epoch=2, added=0.25)
    differing = cli("reproduce", out, 0)
    assert differing.returncode == 1, differing.stdout + differing.stderr
    assert "differs: miou by at most 0.25, at epoch 2" in differing.stdout
    assert "the environment is as recorded" in differing.stdout
    within = cli("reproduce", out, 0, "--tolerance", 0.3)
    assert within.returncode == 0, within.stdout + within.stderr
    assert "within 0.3: " in within.stdout

    imported = cli(
        "data", "import", "builtin:surface-defects", "other", "--size", 32, 32, "--split-seed", 5
    )
    assert imported.returncode == 0, imported.stderr
    fingerprint = json.loads((out / "dataset.json").read_text())["fingerprint"]
    wrong = cli("reproduce", out, 0, "--data", "other")
    assert wrong.returncode == 2
    assert fingerprint in wrong.stderr
    unknown = cli("reproduce", out, 7)
    assert unknown.returncode == 2
    assert "the nearest is 1" in unknown.stderr
    assert "Traceback" not in wrong.stderr + unknown.stderr


def table_of(printed: str) -> list[str]:
    lines = printed.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("epoch "))
    return lines[start + 1 : lines.index("", start)]


def forge(file: Path, *, epoch: int, added: float) -> None:
    """A journal whose checksums are right and whose scores of one epoch of trial 0 are not."""
    events = read_journal(file)
    file.unlink()
    with Journal(file) as journal:
        for event in events:
            message = event.get("message", {})
            if message.get("epoch") == epoch and event["trial_id"].startswith("0000-"):
                message["metrics"]["miou"] += added
            journal.append(event)


@pytest.mark.ray
def test_a_trial_of_two_workers_is_reproduced_by_two_workers(cli, tiny_space, tmp_path):
    out = tmp_path / "study"
    words = ["--space", tiny_space, "--out", out, "--trials", 1, "--workers-per-trial", 2]
    searched = cli("search", *words)
    assert searched.returncode == 0, searched.stdout + searched.stderr
    again = cli("reproduce", out, 0)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "each of 2 workers" in again.stdout
    assert "identical: all " in again.stdout


def test_finalists_go_on_between_seeds_and_leave_what_ships_alone(
    cli, environment, tiny_space, tmp_path
):
    out = tmp_path / "study"
    words = ["search", "--space", str(tiny_space), "--out", str(out), "--local", "--trials", "1"]
    searched = cli(*words)
    assert searched.returncode == 0, searched.stdout + searched.stderr
    assert "one seed a model: differences" in (out / "report.md").read_text()
    shipped = (out / "bundles" / "best" / "model.onnx").read_bytes()

    tiny_space.write_text(
        tiny_space.read_text().replace("samples: 2", "samples: 2, finalist_seeds: 2")
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", "from automl.cli.main import main; main()", *words],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    first = out / "finalists" / "seed1000000"
    deadline = time.monotonic() + 180
    while not list(first.glob("trials/*/checkpoint/epoch-00002")):
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    trained = snapshot(first)

    again = cli(*words)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "trial 0 with seed 1000000: trained before" in again.stdout
    assert "trial 0 with seed 1000001: trained to epoch 2" in again.stdout
    assert "further seeds, mean of 2 and its 95 % interval: best miou" in again.stdout
    assert {name: stamp for name, stamp in snapshot(first).items() if name in trained}.items() >= {
        name: stamp for name, stamp in trained.items() if "checkpoint/epoch-00002/" in name
    }.items()
    assert "epoch   1" not in again.stdout, "the search's own trial is not trained again"
    report = (out / "report.md").read_text()
    assert "## Seeds" in report
    assert "2 of 2" in report
    assert (out / "bundles" / "best" / "model.onnx").read_bytes() == shipped
    manifest = json.loads((out / "bundles" / "best" / "bundle.json").read_text())
    assert manifest["further_seeds"]["test"]["count"] == 2

    third = cli(*words)
    assert third.returncode == 0, third.stdout + third.stderr
    assert third.stdout.count("trained before") == 2
    assert "1000001: done before" in third.stdout
    assert (out / "report.md").read_text() == report
