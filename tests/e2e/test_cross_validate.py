"""A cross-validation that is killed goes on, and ends as one that was not."""

import json
import signal

import pytest


@pytest.mark.slow
def test_a_killed_cross_validation_goes_on_with_the_next_fold(cli, start_cli, tiny_space, tmp_path):
    words = ("cross-validate", "--space", tiny_space, "--folds", 2, "--epochs", 1, "--threads", 1)
    process = start_cli(*words, "--out", "cut")
    for line in process.stdout:
        if line.startswith("   0  "):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = cli(*words, "--out", "cut")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith(("   0  ", "   1  ")) for line in lines) == 2
    cut = json.loads((tmp_path / "cut" / "cross-validation.json").read_text())
    assert [fold["fold"] for fold in cut["folds"]] == [0, 1]
    assert cut["folds"][0]["images"] == 150
    assert cut["means"]["miou"]["folds"] == 2
    again = cli(*words, "--out", "cut", "--params", tmp_path / "nothing" / "4")
    assert again.returncode == 2
    assert "--params: given" in again.stderr
