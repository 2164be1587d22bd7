import numpy as np
import pytest

from automl.bundle.batched import batched
from automl.bundle.runtimes import NAMES, RUNTIMES, absence, open_onnxruntime, versions
from automl.errors import BundleError

SIZE = (32, 48)


def test_onnxruntime_is_always_there():
    assert absence("onnxruntime", versions()) is None


def test_a_missing_runtime_names_the_extra():
    assert absence("openvino", {}) == "not available here: install the extra automl[openvino]"
    assert absence("openvino", {"openvino": "2026.1"}) is None


def test_torch_is_no_runtime_of_a_bundle():
    assert "no torch network" in absence("torch", dict.fromkeys(NAMES, "1"))


def test_an_unknown_runtime_is_refused_with_those_that_are_known():
    with pytest.raises(BundleError, match="allowed are onnxruntime, openvino, torch, got 'tflite'"):
        absence("tflite", {})


def test_openvino_gives_the_masks_of_onnxruntime(artifact):
    pytest.importorskip("openvino", reason="the extra automl[openvino] is not installed")
    images = np.random.default_rng(1).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)
    content = batched(artifact.read_bytes(), size=SIZE, batch=2)
    expected = open_onnxruntime(content, threads=1)(images)
    assert (RUNTIMES["openvino"](content, threads=1)(images) == expected).mean() > 0.999


def test_what_is_no_model_is_refused():
    for name in versions():
        if name in RUNTIMES:
            with pytest.raises(BundleError, match="cannot open it"):
                RUNTIMES[name](b"no model", threads=1)
