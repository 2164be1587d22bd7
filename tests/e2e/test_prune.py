"""`automl prune` as a user types it, from a training of theirs."""

import json

import pytest

from automl.bundle.verify import verify_bundle

SPACE = """
data: {source: data, size: [32, 32]}
space:
  encoder: mobilenetv3_small_050
  decoder: fpn_lite
  decoder_width: 16
  batch_size: 4
train: {epochs: 1}
compress: {int8: false}
target: {rounds: 3}
export: {golden_samples: 2}
"""


@pytest.mark.slow
def test_a_training_is_pruned_into_a_table_and_bundles(cli, tiny_dataset, tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)
    trained = cli("train", "--space", "space.yaml", "--out", "trained", blocked=["ray"])
    assert trained.returncode == 0, trained.stderr
    words = ["prune", "trained/0", "--ratio", "0.25,0.7", "--out", "pruned", "--rounds", 5]
    words += ["--epochs", 1, "--importance", "taylor"]
    done = cli(*words, blocked=["ray"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pruning    taylor, ratio by layer, 1 step(s)" in done.stdout
    rows = [
        line.split()
        for line in done.stdout.splitlines()
        if line[:5].strip() in ("whole", "0.25", "0.7")
    ]
    assert [row[0] for row in rows] == ["whole", "0.25", "0.7"]
    sizes = [float(row[1]) for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    for ratio in ("0.25", "0.7"):
        point = json.loads((tmp_path / "pruned" / f"ratio-{ratio}" / "point.json").read_text())
        assert point["pace"]["reason"] in done.stdout
        assert (point["bundle"] is not None) == point["pace"]["accepted"]
        if point["bundle"] is not None:
            verify_bundle(tmp_path / point["bundle"])
    again = cli(*words, blocked=["ray"])
    assert again.stdout == done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--ratio", "a"], "--ratio: given a; allowed: numbers with commas between them"),
        (
            ["--ratio", "0.5", "--importance", "tayler"],
            "allowed: group_norm, l1, bn_scale, taylor; did you mean taylor?",
        ),
        (["--ratio", "0.5"], "nothing to continue from"),
    ],
)
def test_bad_words_are_told(cli_here, tmp_path, words, told):
    done = cli_here("prune", "nothing", *words, "--out", "out")
    assert done.returncode == 2
    assert told in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()
