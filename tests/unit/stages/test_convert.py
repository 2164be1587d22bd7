"""Networks in other formats: right ones are kept, wrong ones removed, by stage and by command."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from automl.bundle.network import export_network
from automl.cli.main import app
from automl.compression.prune import prune
from automl.compression.quantize import quantize_int8
from automl.errors import UsageError
from automl.formats import registry
from automl.formats.network import Network, open_onnx
from automl.formats.parity import TOLERANCES, Tolerance
from automl.formats.sidecar import Origin
from automl.models.build import build_model
from automl.records import ModelSpec, Normalisation
from automl.resize import STRETCH
from automl.stages.convert import convert
from automl.stages.format_source import FormatSource, find_format_source

SIZE = (32, 64)
TORCH = ("pt2", "torchscript")


def source_of(model, core, precision="fp32"):
    random = np.random.default_rng(0)
    return FormatSource(
        network=Network(
            core=core,
            module=model if precision == "fp32" else None,
            why_no_module="",
            size=SIZE,
            precision=precision,
        ),
        reference=open_onnx(core.read_bytes()),
        images_nhwc=random.integers(0, 256, (2, *SIZE, 3), np.uint8),
        images_from="images",
        classes=("a", "b", "c"),
        normalisation=Normalisation(mean=(120.0, 110.0, 100.0), std=(60.0, 60.0, 60.0)),
        resize=STRETCH,
        origin=Origin(source="test", bundle_sha256=None, core_sha256="0"),
    )


@pytest.fixture
def pruned(tmp_path):
    spec = ModelSpec(encoder="mobilenetv3_small_050", decoder="fpn_lite", decoder_width=16)
    model = prune(
        build_model(spec, num_classes=3, size=SIZE, seed=0), torch.zeros(1, 3, *SIZE), 0.3
    ).eval()
    export_network(model, size=SIZE, path=tmp_path / "core.onnx")
    return model


@pytest.mark.slow
def test_a_pruned_network_computes_the_same_in_every_format_with_a_free_batch(pruned, tmp_path):
    source, out = source_of(pruned, tmp_path / "core.onnx"), tmp_path / "out"
    heard = []
    done = convert(source, ("openvino", *TORCH), out, rounds=1, hear=heard.append)
    assert heard == list(done)
    for each in done:
        assert (each.status, each.batch) == ("written", "N"), each.reason
        assert [found.batch for found in each.agreements] == [1, 2]
        sidecar = json.loads((out / each.format / "model.json").read_text())
        assert sidecar["input"]["size"] == list(SIZE)
        assert sidecar["classes"] == ["a", "b", "c"]
        for name, digest in sidecar["files"].items():
            content = (out / each.format / name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest
    rows = json.loads((out / "formats.json").read_text())["formats"]
    assert [row["format"] for row in rows] == ["openvino", *TORCH]


@pytest.mark.slow
def test_int8_goes_from_onnx_to_openvino_alone(pruned, tmp_path, monkeypatch):
    images = np.random.default_rng(1).normal(size=(4, 1, 3, *SIZE)).astype(np.float32)
    quantize_int8(tmp_path / "core.onnx", tmp_path / "int8.onnx", iter(images))
    source = source_of(pruned, tmp_path / "int8.onnx", "int8")
    # What is tested is the file: on an untrained network's noise, classes are a toss.
    lax = Tolerance(relative_error=0.25, mean_error=0.02, equal_pixels=0.0)
    monkeypatch.setitem(TOLERANCES, "int8", lax)
    out = tmp_path / "lax"
    openvino, pt2 = convert(source, ("openvino", "pt2"), out, rounds=0, hear=lambda _: None)
    assert pt2.status == "not available"
    assert openvino.status == "written", openvino.reason
    assert (out / "openvino" / "model.xml").exists()

    exact = Tolerance(relative_error=0.0, mean_error=0.0, equal_pixels=1.0)
    monkeypatch.setitem(TOLERANCES, "int8", exact)
    (openvino,) = convert(source, ("openvino",), tmp_path / "exact", rounds=0, hear=lambda _: None)
    assert openvino.status == "refused"
    assert not (tmp_path / "exact" / "openvino").exists()


def planted(name, monkeypatch, write):
    wrong = replace(registry.FORMATS[name], write=write)
    monkeypatch.setattr("automl.stages.convert.FORMATS", {**registry.FORMATS, name: wrong})


def bundle_of_torch(monkeypatch, net):
    monkeypatch.setattr("automl.stages.format_source._module_of_bundle", lambda *_: (net, ""))


def wrong_write(network, path, batch):
    module = torch.nn.Sequential(network.torch(), torch.nn.Softmax(dim=1))
    registry.FORMATS["torchscript"].write(replace(network, module=module), path, batch)


def test_a_wrong_conversion_is_removed_and_the_command_fails(bundle, net, monkeypatch, tmp_path):
    bundle_of_torch(monkeypatch, net)
    planted("torchscript", monkeypatch, wrong_write)
    out = tmp_path / "out"
    words = ["export", str(bundle), "--to", "torchscript", "--out", str(out), "--rounds", "0"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert "refused" in done.output
    assert [each.name for each in out.iterdir()] == ["formats.json"]


def test_a_network_for_one_image_falls_back_to_one(bundle, net, monkeypatch, tmp_path):
    class OnlyOne(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, images_nchw):
            return self.net(images_nchw.reshape(1, 3, *images_nchw.shape[2:]))

    bundle_of_torch(monkeypatch, OnlyOne().eval())
    source = find_format_source(bundle, None, tmp_path)
    (done,) = convert(source, ("torchscript",), tmp_path / "out", rounds=0, hear=lambda _: None)
    assert (done.status, done.batch) == ("written", 1)


def test_a_bundle_is_compared_on_its_golden_samples(pristine_bundle, tmp_path):
    source = find_format_source(pristine_bundle, None, tmp_path)
    assert source.images_nhwc.shape == (3, *source.network.size, 3)
    assert "golden" in source.images_from
    assert source.network.module is None


def test_formats_of_torch_are_refused_of_a_bundle_alone(pristine_bundle, tmp_path):
    words = ["export", str(pristine_bundle), "--to", "pt2", "--out", str(tmp_path / "out")]
    with pytest.raises(UsageError, match="not available here: starts from a torch network"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_all_lists_what_is_not_available(pristine_bundle, tmp_path, monkeypatch):
    missing = {
        name: replace(kind, libraries=("no_such_library",))
        for name, kind in registry.FORMATS.items()
    }
    monkeypatch.setattr("automl.stages.convert.FORMATS", missing)
    words = ["export", str(pristine_bundle), "--to", "all", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0
    assert done.output.count("not available here") == len(registry.FORMATS)


def test_a_folder_with_something_in_it_is_refused(pristine_bundle, tmp_path):
    (tmp_path / "other").touch()
    words = ["export", str(pristine_bundle), "--to", "openvino", "--out", str(tmp_path)]
    with pytest.raises(UsageError, match="a new or an empty folder"):
        CliRunner().invoke(app, words, catch_exceptions=False)
