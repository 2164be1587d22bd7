"""`automl distill` as a user types it: two teachers, a smaller student, and what they add."""

import json

import pytest

from automl.bundle.verify import verify_bundle

SPACE = """
data: {source: data, size: [64, 64]}
space:
  encoder: mobilenetv3_small_050
  decoder: fpn_lite
  decoder_width: {choice: [16, 24], default: 24}
  batch_size: 4
train: {epochs: 1}
compress: {int8: false}
target: {rounds: 3}
export: {golden_samples: 2}
"""


@pytest.mark.slow
def test_an_ensemble_teaches_a_smaller_student_and_the_gain_is_told(cli, tiny_dataset, tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)
    for seed in (0, 1):
        words = ["train", "--space", "space.yaml", "--seed", seed, "--out", f"teacher{seed}"]
        trained = cli(*words, blocked=["ray"])
        assert trained.returncode == 0, trained.stderr
    words = ["distill", "--teacher", "teacher0/0", "--teacher", "teacher1/0", "--epochs", 1]
    words += ["--params", "decoder_width=16", "--feature-weight", 0.5, "--rounds", 3]
    words += ["--runtime", "openvino"]
    done = cli(*words, "--seeds", 1, "--out", "student", blocked=["ray"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(mean of their softened probabilities)" in done.stdout
    assert "student    mobilenetv3_small_050 + fpn_lite 16" in done.stdout
    gain = json.loads((tmp_path / "student" / "seed-0" / "gain.json").read_text())
    assert gain["longer"]["epochs"] >= 1
    told = f"{gain['taught']['miou'] - gain['alone']['miou']:+.4f}"
    assert f"gain over the same epochs:  {told} (one seed" in done.stdout
    manifest = json.loads((tmp_path / "student" / "bundle" / "bundle.json").read_text())
    assert manifest["params"]["decoder_width"] == 16
    assert manifest["metrics_runtime"] == manifest["latency"]["runtime"] == "openvino"
    assert manifest["lineage"]["recipe"]["feature_weight"] == 0.5
    verify_bundle(tmp_path / "student" / "bundle")
    more = cli(*words, "--seeds", 2, "--out", "student", blocked=["ray"])
    assert more.returncode == 0, more.stderr
    assert "95 % interval, 2 seeds" in more.stdout
    assert json.loads((tmp_path / "student" / "seed-0" / "gain.json").read_text()) == gain


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--temperature", "0"], "--temperature must be positive, got 0.0"),
        (["--feature-weight", "-1"], "--feature-weight must be at least 0"),
        (["--runtime", "torch"], "--runtime: given torch; allowed: onnxruntime or openvino"),
        (["--params", "decoder_widht=3"], "did you mean decoder_width"),
        ([], "nothing to continue from"),
    ],
)
def test_bad_words_are_told(cli_here, tmp_path, words, told):
    done = cli_here("distill", "--teacher", "nothing", "--out", "out", *words)
    assert done.returncode == 2
    assert told in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()
