"""A study whose target is OpenVINO, as a user types it."""

import json

import pytest

from automl.store.journal import read_journal

pytestmark = pytest.mark.slow
pytest.importorskip("openvino", reason="the extra automl[openvino] is not installed")

SPACE = """
data: {source: data, size: [32, 32]}
space:
  encoder: mobilenetv3_small_050
  decoder: fpn_lite
  decoder_width: 16
  batch_size: 4
train: {epochs: 1}
compress: {calibration_images: 4, int8: {max_drop: 1, max_class_drop: 1, rungs: [nncf]}}
target: {rounds: 3, runtime: openvino}
export: {golden_samples: 2}
"""


def test_a_study_for_openvino_is_scored_timed_and_quantized_there(cli, tiny_dataset, tmp_path):
    assert tiny_dataset == tmp_path / "data"
    (tmp_path / "space.yaml").write_text(SPACE)
    done = cli("train", "--space", "space.yaml", "--out", "study", blocked=["ray"])
    assert done.returncode == 0, done.stdout + done.stderr
    study = tmp_path / "study"
    messages = [event.get("message", {}) for event in read_journal(study / "journal.jsonl")]
    costs = [found for each in messages for found in each.get("measurements", ())]
    assert {c["runtime"] for c in costs if c["metric"] == "latency_ms"} == {"openvino"}
    ladder = json.loads(next(study.glob("candidates/*-ladder/ladder.json")).read_text())
    assert ladder["runtime"] == "openvino"
    (rung,) = ladder["rungs"]
    assert rung["name"] == "nncf"
    assert rung["quality"] is not None
    manifest = json.loads((study / "bundles" / "fp32" / "bundle.json").read_text())
    assert manifest["metrics_runtime"] == manifest["latency"]["runtime"] == "openvino"
    assert {"openvino", "nncf"} <= manifest["packages"].keys()
    assert {"val", "test"} <= manifest["metrics"].keys()
    assert "OpenVINO" in (study / "bundles" / "fp32" / "MODEL_CARD.md").read_text()

    words = ["--runtime", "openvino", "--rounds", 3]
    pruning = ["prune", "study/0", "--ratio", "0.25", "--epochs", 0, "--min-speedup", 1]
    done = cli(*pruning, "--out", "pruned", *words, blocked=["ray"])
    assert "runtime    openvino on cpu, 1 thread(s), batch 1" in done.stdout, done.stderr
    for bundle in (tmp_path / "pruned").rglob("bundle.json"):
        manifest = json.loads(bundle.read_text())
        assert manifest["metrics_runtime"] == manifest["latency"]["runtime"] == "openvino"
    refused = cli(*pruning, "--out", "pruned", blocked=["ray"])
    assert refused.returncode == 2
    assert "holds prunings of another request" in " ".join(refused.stderr.split())
    bundle = "study/bundles/fp32"
    done = cli("compare", bundle, bundle, "--data", "data", *words, blocked=["ray", "torch"])
    assert "in openvino with 1 thread(s): B takes" in done.stdout, done.stderr
