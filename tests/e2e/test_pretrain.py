"""An encoder pre-trained without labels, as a user types it, and a training that begins with it."""

import signal
import time

import pytest
from safetensors.torch import load_file

pytestmark = pytest.mark.slow


def test_a_killed_pretraining_ends_as_if_undisturbed_and_its_file_is_used(
    cli, start_cli, tiny_space, tmp_path
):
    words = ["pretrain", "--space", tiny_space, "--epochs", 3, "--batch-size", 16, "--out"]
    whole = cli(*words, "whole.safetensors", blocked=["ray"])
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert "warning: 16 images a batch: each view has only 30 others" in whole.stdout
    assert "3.4340 by chance" in whole.stdout
    process = start_cli(*words, "cut.safetensors")
    while not list(tmp_path.glob("cut-*.pretraining/epoch-00001")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = cli(*words, "cut.safetensors")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "  1 of 3" not in again.stdout
    first, second = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "cut"))
    assert first.keys() == second.keys()
    assert all(first[name].equal(second[name]) for name in first)
    assert not list(tmp_path.glob("*.pretraining"))
    there = cli(*words, "whole.safetensors")
    assert there.returncode == 2
    assert "is there already" in there.stderr

    used = cli(
        *("train", "--space", tiny_space, "--epochs", 1, "--out", "used"),
        *("--params", "pretrained=whole.safetensors"),
    )
    assert used.returncode == 0, used.stdout + used.stderr
