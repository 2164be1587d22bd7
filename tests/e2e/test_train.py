"""One training by hand, as a user types it: killed, by torchrun, and from trained weights."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from automl.records import to_json
from automl.stages import explain
from automl.stages.quantize_subject import find_subject
from automl.stages.starting_point import starting_point
from automl.store.journal import read_journal

pytestmark = pytest.mark.slow

SPACE = """
data: {source: data, size: [32, 32]}
space:
  encoder: mobilenetv3_small_050
  decoder: fpn_lite
  decoder_width: {choice: [16, 24], default: 16}
  learning_rate: 2.0e-3
  augmentation: light
  batch_size: 4
train: {epochs: 2}
compress: {int8: false}
target: {rounds: 3}
export: {golden_samples: 2}
"""

#: Draws of dropout are a rank's own, and a batch norm takes a rank's part of a batch: this network
#: has neither once its decoder's dropout is taken out.
RANKED = SPACE.replace("mobilenetv3_small_050", "convnext_atto").replace("fpn_lite", "fpn")
WITHOUT_DROPOUT = """
import sys
from torch import nn
nn.Dropout2d.forward = lambda self, value: value
sys.argv[0] = "automl"
from automl.cli.main import main
main()
"""


@pytest.fixture
def space(tiny_dataset, tmp_path):
    assert tiny_dataset == tmp_path / "data"
    file = tmp_path / "space.yaml"
    file.write_text(SPACE)
    return file


def epochs_of(out):
    messages = (event.get("message", {}) for event in read_journal(out / "journal.jsonl"))
    return [(m["epoch"], m["metrics"]) for m in messages if m.get("kind") == "epoch"]


def test_a_killed_training_goes_on_and_ends_as_if_undisturbed(cli, start_cli, space, tmp_path):
    words = ["train", "--space", space, "--params", "decoder_width=24", "--epochs", 3]
    whole = cli(*words, "--out", "whole", blocked=["ray"])
    assert whole.returncode == 0, whole.stdout + whole.stderr
    process = start_cli(*words, "--out", "cut")
    first = tmp_path / "cut" / "trials"
    while not list(first.glob("*/checkpoint/epoch-00001")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = cli(*words, "--out", "cut")
    assert again.returncode == 0, again.stdout + again.stderr
    assert [epoch for epoch, _ in epochs_of(tmp_path / "cut")] == [1, 2, 3]
    assert epochs_of(tmp_path / "cut") == epochs_of(tmp_path / "whole")
    bundle = tmp_path / "cut" / "bundles" / "fp32"
    assert cli("bundle", "verify", bundle).returncode == 0
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert manifest["params"]["decoder_width"] == 24
    assert {"val", "test"} <= manifest["metrics"].keys()
    assert "   3 of 3" in whole.stdout
    assert "verified bundles:" in again.stdout

    repeated = cli("reproduce", "cut", 0, "--epochs-only", 1)
    assert "identical" in repeated.stdout, repeated.stdout + repeated.stderr
    other = cli(*words, "--out", "cut", "--params", "batch_size=2")
    assert other.returncode == 2
    assert "batch_size" in other.stderr
    assert "--overwrite" in other.stderr


def test_two_processes_of_torchrun_train_as_one(environment, space, tmp_path):
    space.write_text(RANKED)
    (tmp_path / "main.py").write_text(WITHOUT_DROPOUT)
    words = ["main.py", "train", "--space", "space.yaml", "--epochs", "2", "--out"]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    ran = [
        subprocess.run(
            [sys.executable, *before, *words, out],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        for before, out in (([], "one"), (launch, "two"))
    ]
    assert [done.returncode for done in ran] == [0, 0], ran[1].stdout + ran[1].stderr
    one, two = (epochs_of(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) == 2
    for (_, alone), (_, together) in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=2e-4)
    printed = ran[1].stdout
    assert printed.count("1 of 2") == printed.count("verified bundles:") == 1
    assert "2 processes of torchrun" in printed
    declared = json.loads((tmp_path / "two" / "experiment.json").read_text())["experiment"]
    assert declared["train"]["workers"] == 2


@pytest.mark.exhaustive
@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_restarts_a_training_whose_rank_is_killed(environment, space, tmp_path, rank):
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--max-restarts"]
    words = ["1", "-m", "automl", "train", "--space", "space.yaml", "--epochs", "4", "--out", "out"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *launch, *words],
            env=environment,
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + 180
    while not list((tmp_path / "out").glob("trials/*/checkpoint/epoch-00001")):
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process_of_rank(rank, process.pid), signal.SIGKILL)
    assert process.wait(timeout=250) == 0, (tmp_path / "log").read_text()
    printed = (tmp_path / "log").read_text()
    assert printed.count("2 processes of torchrun") == 2
    assert printed.count("1 of 4") == printed.count("verified bundles:") == 1
    assert [epoch for epoch, _ in epochs_of(tmp_path / "out")] == [1, 2, 3, 4]


def process_of_rank(rank, launcher):
    """The process that `launcher` started as this rank."""
    told = f"RANK={rank}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat, given = (folder / "stat").read_text(), (folder / "environ").read_bytes()
        except OSError:
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        if parent == launcher and told in given.split(b"\0"):
            return int(folder.name)
    raise AssertionError(f"torchrun has no rank {rank}")


def test_a_training_goes_on_with_new_data_and_says_what_it_forgot(
    cli, space, tmp_path, monkeypatch
):
    darken(shutil.copytree(tmp_path / "data", tmp_path / "new"))
    assert cli("train", "--space", space, "--out", "old").returncode == 0
    words = ["train", "--data", "new", "--epochs", 1, "--continue-from"]
    held = cli(*words, "old/bundles/fp32", "--out", "held", "--ewc-lambda", 10)
    assert held.returncode == 0, held.stdout + held.stderr
    assert "mIoU on val" not in held.stdout
    assert "miou on val, ewc-lambda 10" in held.stdout
    report = json.loads((tmp_path / "held" / "continual.json").read_text())
    assert [row["data"] for row in report["scores"]] == ["old", "new"]
    assert report["fisher_images"] == 4
    shipped = json.loads((tmp_path / "old" / "bundles" / "fp32" / "bundle.json").read_text())
    old, _ = report["scores"]
    assert old["before"]["miou"] == shipped["metrics"]["val"]["miou"]
    manifest = json.loads((tmp_path / "held" / "bundles" / "fp32" / "bundle.json").read_text())
    assert manifest["input"]["normalisation"] == shipped["input"]["normalisation"]
    assert manifest["lineage"]["recipe"]["ewc_lambda"] == 10
    trial_id = manifest["lineage"]["trial_id"]
    check_normalisation(tmp_path / "held", trial_id, shipped["input"]["normalisation"])
    assert explained_with(tmp_path, monkeypatch) == shipped["input"]["normalisation"]

    repeated = cli("reproduce", "held", 0)
    assert "identical" in repeated.stdout, repeated.stdout + repeated.stderr
    other = cli(*words, "old/bundles/fp32", "--out", "held")
    assert other.returncode == 2
    assert "other --ewc-lambda" in other.stderr

    shutil.copytree(tmp_path / "old" / "bundles" / "fp32", tmp_path / "alone")
    alone = cli(*words, "alone", "--out", "x")
    assert alone.returncode == 2
    assert "a bundle alone holds no weights that can be trained" in alone.stderr
    shutil.copytree(tmp_path / "old" / "weights", tmp_path / "moved")
    check_one_class(cli, tmp_path)


def check_normalisation(study, trial_id, expected):
    """Whichever way a network is named, it is read with the normalisation of its weights."""
    for path in (study / "0", study / "trials" / trial_id):
        subject, (network, state) = find_subject(path), starting_point(path)
        assert to_json(subject.normalisation) == to_json(network.normalisation) == expected
        assert state.keys() == subject.trainable.network.model.state_dict().keys()


def check_one_class(cli, tmp_path):
    """ROOT/moved goes on with data that holds one of its classes alone, and says so."""
    keep_one_class(shutil.copytree(tmp_path / "new", tmp_path / "sparse"))
    rare = "class_weights=balanced,oversample=effective,copy_paste=0.5"
    words = ["train", "--data", "sparse", "--epochs", 1, "--continue-from", "moved"]
    sparse = cli(*words, "--params", rare, "--out", "sparser")
    assert sparse.returncode == 0, sparse.stdout + sparse.stderr
    assert "class 'high' is absent from train: nothing more is learnt of it" in sparse.stdout
    report = json.loads((tmp_path / "sparser" / "continual.json").read_text())
    old, new = report["scores"]
    assert {"iou.low", "iou.high"} <= old["after"].keys()
    assert new["after"]["iou.low"] == new["after"]["miou"] > 0
    assert "iou.high" not in new["before"] | new["after"]
    repeated = cli("reproduce", "sparser", 0)
    assert "identical" in repeated.stdout, repeated.stdout + repeated.stderr


def explained_with(root, monkeypatch):
    """The normalisation of the photo that an explanation shows to the network of ROOT/held."""
    used = []
    real = explain.normalise
    monkeypatch.setattr(
        explain, "normalise", lambda image, how: used.append(to_json(how)) or real(image, how)
    )
    explain.explain(
        explain.ExplanationRequest(
            study=root / "held",
            trial="0",
            image=root / "new" / "val" / "images" / "0.png",
            class_name="low",
            out=root / "heat.png",
        )
    )
    (how,) = used
    return how


def keep_one_class(root):
    """Masks that hold nothing but `low`, under another value than the one of the old data."""
    (root / "dataset.yaml").write_text("name: sparse\nclasses: {0: high, 4: low}\n")
    for file in root.glob("*/masks/*.png"):
        Image.open(file).point(lambda _: 4).save(file)


def darken(root):
    for file in root.glob("*/images/*.png"):
        Image.open(file).point(lambda value: value // 2).save(file)
