"""One small network, exported, wrapped and bundled once for all tests that need a bundle."""

import shutil
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from torch import nn

from automl.bundle.card import model_card
from automl.bundle.manifest import InputContract, Latency, Manifest, package_versions
from automl.bundle.masks import default_colours
from automl.bundle.network import export_network
from automl.bundle.wrap import wrap_network
from automl.bundle.writing import write_bundle
from automl.records import Lineage, Normalisation

SIZE = (32, 48)
CLASSES = ("background", "scratch", "pit", "rust", "oil")
NORMALISATION = Normalisation(mean=(120.5, 110.0, 99.25), std=(60.0, 57.5, 52.0))


@pytest.fixture(scope="session")
def net():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(3, 12, 5, padding=2),
            nn.BatchNorm2d(12),
            nn.Hardswish(),
            nn.Conv2d(12, len(CLASSES), 3, padding=1),
        ).eval()


@pytest.fixture(scope="session")
def core(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("core") / "core.onnx"
    export_network(net, size=SIZE, path=path)
    return path


@pytest.fixture(scope="session")
def artifact(core, tmp_path_factory):
    path = tmp_path_factory.mktemp("artifact") / "model.onnx"
    wrap_network(core, path, normalisation=NORMALISATION, size=SIZE, num_classes=len(CLASSES))
    return path


@pytest.fixture(scope="session")
def make_manifest():
    def make(**changes):
        fields = {
            "name": "0003-abcdef12-int8",
            "task": "segmentation",
            "classes": CLASSES,
            "colours": default_colours(CLASSES),
            "input": InputContract(size=SIZE, normalisation=NORMALISATION),
            "metrics": {"val": {"miou": 0.71, "dice": 0.8}, "test": {"miou": 0.69}},
            "latency": Latency(
                p50_ms=4.2,
                p95_ms=5.0,
                device="cpu",
                runtime="onnxruntime",
                threads=1,
                batch=1,
                ratio_to_default=0.6,
            ),
            "size_mb": 1.5,
            "params_m": 0.9,
            "macs_g": 0.2,
            "precision": "int8",
            "lineage": Lineage(
                trial_id="0003-abcdef12",
                kind="student",
                precision="int8",
                recipe={"pruning_ratio": 0.5},
                teacher="0003-abcdef12",
            ),
            "params": {"encoder": "mobilenetv3_small_100", "alpha": 0.5, "pretrained": False},
            "dataset_name": "surface-defects",
            "dataset_fingerprint": "f" * 64,
            "seeds": {"study": 0, "trial": 17},
            "packages": package_versions(),
            "created": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        }
        return Manifest(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def golden_images():
    random = np.random.default_rng(5)
    return [
        random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in (SIZE, (40, 30), (100, 130))
    ]


@pytest.fixture(scope="session")
def write(artifact, make_manifest, golden_images):
    def to(destination, **changes):
        manifest = changes.pop("manifest", make_manifest())
        arguments = {
            "artifact": artifact,
            "manifest": manifest,
            "golden": golden_images,
            "model_card": model_card(manifest),
        }
        write_bundle(destination, **(arguments | changes))
        return destination

    return to


@pytest.fixture(scope="session")
def pristine_bundle(write, tmp_path_factory):
    return write(tmp_path_factory.mktemp("pristine") / "bundle")


@pytest.fixture
def bundle(pristine_bundle, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(pristine_bundle, tmp_path / "bundle")
