"""The main job as a user drives it: one command, real Ray, verified bundles."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

pytestmark = pytest.mark.slow


@pytest.mark.ray
def test_search_on_ray_ends_in_bundles_that_verify_and_predict(cli, tiny_space, tmp_path):
    out = tmp_path / "study"
    searched = cli("search", "--space", tiny_space, "--out", out)
    assert searched.returncode == 0, searched.stdout + searched.stderr
    assert "Ray on 1 node" in searched.stdout
    assert_whole_study(out, searched.stdout, num_trials=3)

    verified = cli("bundle", "verify", out / "bundles" / "best", blocked=["torch", "ray"])
    assert verified.returncode == 0, verified.stderr
    assert "verified" in verified.stdout

    photo = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (75, 101, 3), np.uint8)).save(photo)
    mask = tmp_path / "mask.png"
    predicted = cli(
        "predict", out / "bundles" / "best", photo, "--out", mask, blocked=["torch", "ray", "timm"]
    )
    assert predicted.returncode == 0, predicted.stderr
    with Image.open(mask) as picture:
        labels = np.array(picture)
    assert labels.shape == (75, 101)
    assert labels.max() < 4


def test_search_in_this_process_needs_no_ray(cli, tiny_space, tmp_path):
    out = tmp_path / "study"
    searched = cli("search", "--space", tiny_space, "--out", out, "--local", blocked=["ray"])
    assert searched.returncode == 0, searched.stdout + searched.stderr
    assert_whole_study(out, searched.stdout, num_trials=3)

    plain = tiny_space.read_text()
    tiny_space.write_text(plain.replace("samples: 2", "samples: 2, tta: {flip: true}"))
    again = cli("search", "--space", tiny_space, "--out", out, "--local", "--trials", "4")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "averaged views (--tta-flip): best miou" in again.stdout, "asked for later"
    assert "## Averaged views" in (out / "report.md").read_text()
    before = [line for line in searched.stdout.splitlines() if "epoch   1" in line]
    repeated = [line for line in again.stdout.splitlines() if "epoch   1" in line]
    assert len(before) == 3
    assert len(repeated) == 1, "only the added trial may train"

    other = cli("search", "--space", tiny_space, "--out", out, "--local", "--epochs", "1")
    assert other.returncode == 2
    assert "epochs" in other.stderr
    assert "--overwrite" in other.stderr


@pytest.mark.ray
@pytest.mark.exhaustive  # a group of two is in every run of test_faults.py
def test_a_trial_may_be_a_group_of_two_workers(cli, tiny_space, tmp_path):
    out = tmp_path / "study"
    searched = cli(
        "search", "--space", tiny_space, "--out", out, "--trials", 2, "--workers-per-trial", 2
    )
    assert searched.returncode == 0, searched.stdout + searched.stderr
    assert "2 workers (DDP)" in searched.stdout
    assert_whole_study(out, searched.stdout, num_trials=2)


def assert_whole_study(out: Path, printed: str, *, num_trials: int) -> None:
    trials = pq.read_table(out / "trials.parquet").to_pylist()
    assert len(trials) == num_trials
    assert {row["status"] for row in trials} <= {"completed", "stopped"}
    needed = "trial_id status epochs params_m miou latency_ms learning_rate decoder_width"
    assert set(needed.split()) <= set(trials[0])
    candidates = pq.read_table(out / "candidates.parquet").to_pylist()
    assert {(row["kind"], row["precision"]) for row in candidates} >= {
        ("trial", "fp32"),
        ("trial", "int8"),
        ("student", "fp32"),
        ("student", "int8"),
    }
    marks = ("on_front", "is_smallest", "is_default")
    finalists = [row for row in candidates if any(row[mark] for mark in marks)]
    for row in candidates:
        assert row["latency_ms"] > 0
        assert 0 <= row["miou"] <= 1
        assert (row["miou.test"] is not None) == (row in finalists)
    manifest = json.loads((out / "bundles" / "best" / "bundle.json").read_text())
    assert set(manifest["metrics"]) == {"val", "test"}
    assert (out / "report.md").exists()
    with Image.open(out / "front.png") as picture:
        assert picture.size[0] > 800
    assert "Pareto front" in printed
    assert "bundles/best" in printed
