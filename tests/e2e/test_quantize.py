"""`automl quantize` as a user types it: the table, the bundle, going on, and what is refused."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from automl.bundle.card import model_card
from automl.bundle.manifest import InputContract, Latency, Manifest, package_versions
from automl.bundle.masks import default_colours
from automl.bundle.network import export_network
from automl.bundle.packing import pack_bundle
from automl.bundle.unwrap import unwrap_network
from automl.bundle.verify import verify_bundle
from automl.bundle.wrap import wrap_network
from automl.bundle.writing import write_bundle
from automl.data.importing import cached_dataset
from automl.errors import BundleError
from automl.records import Lineage
from automl.stages.quantize_subject import find_subject

DATA = "builtin:surface-defects"
SIZE = (32, 32)


@pytest.fixture(scope="module")
def info(cache):
    return cached_dataset(DATA, size=SIZE, cache=cache).info


@pytest.fixture(scope="module")
def core(info, tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, len(info.classes), 1),
        ).eval()
    path = tmp_path_factory.mktemp("core") / "core.onnx"
    export_network(net, size=SIZE, path=path)
    return path


@pytest.fixture(scope="module")
def wrapped(core, info, tmp_path_factory):
    path = tmp_path_factory.mktemp("wrapped") / "model.onnx"
    wrap_network(
        core, path, normalisation=info.normalisation, size=SIZE, num_classes=len(info.classes)
    )
    return path


@pytest.fixture(scope="module")
def bundle(wrapped, info, tmp_path_factory):
    manifest = Manifest(
        name="planted",
        task="segmentation",
        classes=info.classes,
        colours=default_colours(info.classes),
        input=InputContract(size=SIZE, normalisation=info.normalisation),
        metrics={"val": {"miou": 0.1}},
        latency=Latency(
            p50_ms=1, p95_ms=1, device="cpu", runtime="onnxruntime", threads=1, batch=1
        ),
        size_mb=1,
        params_m=0.1,
        macs_g=0.1,
        precision="fp32",
        lineage=Lineage(trial_id="0000-abc", kind="trial", precision="fp32", recipe={"epochs": 3}),
        params={"encoder": "none"},
        dataset_name=info.name,
        dataset_fingerprint=info.fingerprint,
        seeds={"split": 0},
        packages=package_versions(),
        created=datetime(2025, 1, 1, tzinfo=UTC),
    )
    golden = [np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)]
    path = tmp_path_factory.mktemp("bundles") / "planted"
    write_bundle(
        path, artifact=wrapped, manifest=manifest, golden=golden, model_card=model_card(manifest)
    )
    return path


def test_the_network_inside_a_bundle_comes_out_and_wraps_to_the_same_bytes(
    wrapped, core, info, tmp_path
):
    count = len(info.classes)
    unwrap_network(wrapped, tmp_path / "core.onnx", size=SIZE, num_classes=count)
    again = tmp_path / "model.onnx"
    wrap_network(
        tmp_path / "core.onnx",
        again,
        normalisation=info.normalisation,
        size=SIZE,
        num_classes=count,
    )
    assert [n.name for n in onnx.load(again).graph.node] == [
        n.name for n in onnx.load(wrapped).graph.node
    ]
    with pytest.raises(BundleError, match="not the graph of a bundle"):
        unwrap_network(core, tmp_path / "none.onnx", size=SIZE, num_classes=count)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_bundle_climbs_the_ladder_and_a_second_run_repeats_no_rung(
    cli, bundle, tmp_path, runtime
):
    out = tmp_path / "int8"
    words = ["quantize", bundle, "--data", DATA, "--out", out, "--runtime", runtime]
    words += ["--rungs", "per_channel,qat", "--rounds", 5, "--max-drop", 0, "--max-class-drop", 0]
    done = cli(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"runtime    {runtime} on cpu, 1 thread(s), batch 1" in done.stdout
    assert "note       qat: a bundle cannot be fine-tuned" in done.stdout
    ladder = json.loads((out / "ladder.json").read_text())
    assert ladder["runtime"] == runtime
    first = ladder["rungs"][0]
    assert first["name"] == "per_channel"
    assert first["quality"]["miou"] > 0
    assert first["speed"]["float_ms"] > 0
    assert ladder["reason"] in done.stdout
    manifest = json.loads((out / "bundle" / "bundle.json").read_text())
    assert manifest["precision"] == ("fp32" if ladder["chosen"] is None else "int8")
    assert manifest["lineage"]["recipe"]["int8"] == ladder["reason"]
    assert manifest["latency"]["runtime"] == runtime
    assert ladder["reason"] in (out / "bundle" / "MODEL_CARD.md").read_text()
    verify_bundle(out / "bundle")
    rung = out / "rungs" / "per_channel" / "rung.json"
    before = rung.stat().st_mtime_ns
    (out / "ladder.json").unlink()  # as if it had been killed at the very end
    assert cli(*words).returncode == 0
    assert rung.stat().st_mtime_ns == before
    other = cli(*words, "--min-speedup", "2")
    assert other.returncode == 2
    assert "holds a ladder of another request (other: settings)" in other.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--runtime", "tensorrt"], "--runtime: given tensorrt; allowed: onnxruntime or openvino"),
        (["--rungs", "per_chanel"], "--rungs: given per_chanel; allowed with onnxruntime"),
        (["--rungs", "nncf"], "--rungs: given nncf; allowed with onnxruntime"),
        (["--rungs", "qat,qat"], "each once"),
        (["--max-drop", "-1"], "--max-drop"),
        (["--min-speedup", "0.9"], "--min-speedup"),
    ],
)
def test_bad_settings_are_told_before_any_work(cli_here, bundle, tmp_path, words, told):
    done = cli_here("quantize", bundle, "--data", DATA, "--out", tmp_path / "int8", *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert not (tmp_path / "int8").exists()


def test_a_bundle_alone_does_not_say_where_its_data_is(cli_here, bundle, tmp_path):
    done = cli_here("quantize", bundle, "--out", tmp_path / "int8")
    assert done.returncode == 2
    assert "--data: not given" in done.stderr
    assert not (tmp_path / "int8").exists()


def test_a_packed_bundle_is_the_bundle(bundle, tmp_path):
    packed = tmp_path / "planted.automl.zip"
    pack_bundle(bundle, packed)
    folder, file = find_subject(bundle), find_subject(packed)
    assert replace(file, source=folder.source) == folder
    exported = tmp_path / "exported"
    exported.mkdir()
    file.export(exported)
    assert (exported / "model.onnx").read_bytes() == (bundle / "model.onnx").read_bytes()


def test_what_is_no_model_is_told(cli_here, tmp_path):
    done = cli_here("quantize", tmp_path, "--data", DATA, "--out", tmp_path / "int8")
    assert done.returncode == 2
    assert "neither a bundle" in done.stderr
