"""A search whose target is OpenVINO, as a user types it."""

import json

import pytest

from automl.records import TrialStatus
from automl.store.journal import read_journal

pytestmark = pytest.mark.slow
pytest.importorskip("openvino", reason="the extra automl[openvino] is not installed")

TARGET = "target: {rounds: 3"


def test_a_search_for_openvino_scores_times_and_quantizes_there(cli, tiny_space, tmp_path):
    text = tiny_space.read_text()
    assert TARGET in text
    text = text.replace(TARGET, f"{TARGET}, runtime: openvino")
    text = text.replace("trials: 3", "trials: 1").replace("[{pruning_ratio: 0.3}]", "[]")
    text = text.replace("epochs: 2", "epochs: 1")
    text = text.replace("max_class_drop: 1}", "max_class_drop: 1, rungs: [nncf]}")
    tiny_space.write_text(text)
    done = cli("search", "--space", tiny_space, "--out", "study", "--local", blocked=["ray"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "target     openvino on cpu, 1 thread(s), batch 1, without the resizes" in done.stdout
    study = tmp_path / "study"
    messages = [event.get("message", {}) for event in read_journal(study / "journal.jsonl")]
    costs = [found for each in messages for found in each.get("measurements", ())]
    assert {c["runtime"] for c in costs if c["metric"] == "latency_ms"} == {"openvino"}
    ends = {each["status"] for each in messages if each.get("kind") == "end"}
    assert TrialStatus.FAILED not in ends
    ladder = next(study.glob("candidates/*-ladder/ladder.json"))
    plain = json.loads(ladder.read_text())
    assert plain["runtime"] == "openvino"
    assert [rung["name"] for rung in plain["rungs"]] == ["nncf"]
    assert plain["rungs"][0]["quality"] is not None
    manifest = json.loads((study / "bundles" / "best" / "bundle.json").read_text())
    assert manifest["metrics_runtime"] == manifest["latency"]["runtime"] == "openvino"
    assert {"openvino", "nncf"} <= manifest["packages"].keys()
    assert "OpenVINO" in (study / "bundles" / "best" / "MODEL_CARD.md").read_text()

    tiny_space.write_text(text.replace(", runtime: openvino", "").replace(", rungs: [nncf]", ""))
    other = cli("search", "--space", tiny_space, "--out", "study", "--local")
    assert other.returncode == 2
    assert "runtime" in other.stderr
