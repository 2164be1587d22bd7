"""A trial again, and finalists again, as a user asks for them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from automl.data.dataset import open_dataset
from automl.store.journal import Journal, read_journal
from automl.store.layout import StudyFolder

pytestmark = pytest.mark.slow


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in root.rglob("*")
    }


def test_a_trial_is_reproduced_and_a_record_that_differs_is_found(cli, tiny_space, tmp_path):
    out = tmp_path / "study"
    fidelity = "{trials: 3, fidelity: {data_share: [0.5, 1], size: [0.5, 1]}}"
    plain = tiny_space.read_text().replace("{trials: 3}", fidelity)
    tiny_space.write_text(plain.replace("[32, 32]", "[64, 32]"))
    searched = cli("search", "--space", tiny_space, "--out", out, "--local", "--trials", 2)
    assert searched.returncode == 0, searched.stdout + searched.stderr
    assert "2 to epoch 1 (at 50 % of the data, 32 x 32), 1 to epoch 2 (at" in searched.stdout
    assert "1.5 full epochs in all" in searched.stdout
    assert "spent: 1.5 of 1.5 full epochs" in searched.stdout
    before = snapshot(out)

    again = cli("reproduce", out, 0, "--out", "kept", blocked=["ray"])
    assert again.returncode == 0, again.stdout + again.stderr
    assert "identical: all " in again.stdout
    assert "the same packages, CPU and threads" in again.stdout
    assert [line.split()[0] for line in table_of(again.stdout)] == ["1", "2"]
    assert (tmp_path / "kept" / "epoch-00002" / "model.safetensors").exists()
    assert snapshot(out) == before, "the study is only read"

    forge(out / "journal.jsonl", epoch=1, added=0.25)
    differing = cli("reproduce", out, 0, "--epochs-only", 1)
    assert differing.returncode == 1, differing.stdout + differing.stderr
    assert [line.split()[0] for line in table_of(differing.stdout)] == ["1"]
    assert "differs: miou by at most 0.25, at epoch 1" in differing.stdout
    assert "the environment is as recorded" in differing.stdout


def test_another_dataset_is_refused_before_any_training(cli, tiny_dataset, tmp_path):
    committed = Path(__file__).parents[2] / "results" / "camvid-lightweight"
    height, width = StudyFolder(committed).dataset().size
    size = ("--size", height, width)
    imported = cli("data", "import", tiny_dataset, "other", *size)
    assert imported.returncode == 0, imported.stderr
    fingerprints = [
        StudyFolder(committed).dataset().fingerprint,
        open_dataset(tmp_path / "other").info.fingerprint,
    ]
    wrong = cli("reproduce", committed, 0, "--data", "other")
    assert wrong.returncode == 2, wrong.stdout + wrong.stderr
    assert all(fingerprint in wrong.stderr for fingerprint in fingerprints)
    assert "Traceback" not in wrong.stderr
    assert "epoch " not in wrong.stdout


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
@pytest.mark.exhaustive
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
    plain = re.sub(r"int8: .*", "int8: false", tiny_space.read_text())
    tiny_space.write_text(plain)
    words = ["search", "--space", str(tiny_space), "--out", str(out), "--local", "--trials", "1"]
    searched = cli(*words)
    assert searched.returncode == 0, searched.stdout + searched.stderr
    assert "one seed a model: differences" in (out / "report.md").read_text()
    shipped = (out / "bundles" / "best" / "model.onnx").read_bytes()

    tiny_space.write_text(plain.replace("samples: 2", "samples: 2, finalist_seeds: 2"))
    first = out / "finalists" / "seed1000000"
    kill_once_there(first, "trials/*/checkpoint/epoch-00002", words, environment)
    trained = snapshot(first)

    again = cli(*words)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "trial 0 with seed 1000000: trained before" in again.stdout
    assert "trial 0 with seed 1000001: trained to epoch 2" in again.stdout
    assert "further seeds, mean of 2 and its 95 % interval: best miou" in again.stdout
    assert "epoch   1" not in again.stdout, "the search's own trial is not trained again"
    whole = {k: v for k, v in trained.items() if "/checkpoint/epoch-00002/" in k}
    assert whole
    assert whole.items() <= snapshot(first).items()
    report = (out / "report.md").read_text()
    assert "## Seeds" in report
    assert "2 of 2" in report
    assert (out / "bundles" / "best" / "model.onnx").read_bytes() == shipped
    manifest = json.loads((out / "bundles" / "best" / "bundle.json").read_text())
    assert manifest["further_seeds"]["test"]["count"] == 2


def kill_once_there(
    root: Path, pattern: str, words: list[str], environment: dict[str, str]
) -> None:
    """Start the command, and kill it with all its children once a path is there."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from automl.cli.main import main; main()", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 180
    while not list(root.glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
