import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from automl.bundle.runtime import open_session
from automl.bundle.wrap import wrap_network
from automl.bundle.wrap_mask import STRIP_ROWS
from automl.errors import TrialError
from automl.records import Normalisation

SIZE = (32, 48)
NUM_CLASSES = 5
NORMALISATION = Normalisation(mean=(120.5, 110.0, 99.25), std=(60.0, 57.5, 52.0))
MEAN = np.array(NORMALISATION.mean)[:, None, None]
STD = np.array(NORMALISATION.std)[:, None, None]


def noise(height, width, seed=0):
    """White noise: the hardest image for two resizes to agree on."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


class Tapped:
    """The wrapped network with the bare network's input and output as further outputs."""

    def __init__(self, path):
        model = onnx.load(path)
        for name, channels in (("core/pixels_nchw", 3), ("core/logits_nkhw", NUM_CLASSES)):
            value = helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, *SIZE])
            model.graph.output.append(value)
        self._session = onnxruntime.InferenceSession(model.SerializeToString())

    def run(self, image_hwc):
        """mask (H, W), pixels (3, h, w) as the network gets them, logits (1, K, h, w)."""
        mask, pixels, logits = self._session.run(None, {"image": image_hwc})
        return mask, pixels[0], logits


@pytest.fixture(scope="module")
def tapped(artifact):
    return Tapped(artifact)


def pillow_resized(image_hwc):
    resized = Image.fromarray(image_hwc).resize(SIZE[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized).transpose(2, 0, 1)


def assert_mask_is_argmax_of_bilinear_logits(tapped, image_hwc):
    mask_hw, _, logits_nkhw = tapped.run(image_hwc)
    height, width = image_hwc.shape[:2]
    assert mask_hw.dtype == np.uint8
    assert mask_hw.shape == (height, width)
    expected_nkhw = F.interpolate(
        torch.from_numpy(logits_nkhw), (height, width), mode="bilinear", align_corners=False
    )
    best_hw = expected_nkhw[0].amax(dim=0)
    chosen_hw = expected_nkhw[0].gather(0, torch.from_numpy(mask_hw)[None].long())[0]
    # Equal up to rounding: a class may only win over another where the two are tied.
    assert float((best_hw - chosen_hw).max()) < 1e-5


SIZES = [(1, 1), (1, 7), (3, 1001), (1001, 3), (31, 48), (33, 49), (96, 144), (721, 963)]


@pytest.mark.parametrize("size", SIZES)
def test_resize_in_the_graph_agrees_with_pillow_within_one_grey_level(tapped, size):
    image_hwc = noise(*size)
    _, pixels_chw, _ = tapped.run(image_hwc)
    grey_levels = pixels_chw * STD + MEAN
    assert np.abs(grey_levels - pillow_resized(image_hwc)).max() < 1.001


def test_image_of_the_network_s_own_size_is_only_normalised(tapped):
    image_hwc = noise(*SIZE)
    _, pixels_chw, _ = tapped.run(image_hwc)
    np.testing.assert_allclose(pixels_chw, (image_hwc.transpose(2, 0, 1) - MEAN) / STD, atol=1e-5)


@pytest.mark.parametrize("size", [SIZE, *SIZES, (STRIP_ROWS, 5), (STRIP_ROWS + 1, 5)])
def test_mask_is_the_argmax_of_bilinear_logits(tapped, size):
    assert_mask_is_argmax_of_bilinear_logits(tapped, noise(*size))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(height=st.integers(1, 90), width=st.integers(1, 90), seed=st.integers(0, 9))
def test_any_size_gives_a_mask_of_that_size(tapped, height, width, seed):
    assert_mask_is_argmax_of_bilinear_logits(tapped, noise(height, width, seed))


def test_several_classes_are_predicted_so_that_the_tests_above_can_fail(artifact):
    mask_hw = open_session(artifact, threads=1).run(noise(64, 96))
    assert len(np.unique(mask_hw)) >= 3


def test_twelve_megapixel_photo_is_labelled_without_its_logits_in_memory(tmp_path):
    """11 classes x 3000 x 4000 floats are 528 MB; the strips need a fraction."""
    write_affine_core(tmp_path / "core.onnx", num_classes=11)
    wrap(tmp_path / "core.onnx", tmp_path / "model.onnx", num_classes=11)
    program = f"""
import resource
from pathlib import Path
import numpy as np
from automl.bundle.runtime import open_session
session = open_session(Path({str(tmp_path / "model.onnx")!r}), threads=1)
image = np.zeros((3000, 4000, 3), np.uint8)
image[1500:] = 255
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
mask = session.run(image)
assert mask.shape == (3000, 4000), mask.shape
assert len(np.unique(mask)) > 1
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 300


def test_first_of_equal_classes_wins(tmp_path):
    write_affine_core(tmp_path / "core.onnx", num_classes=4, gain=0.0)
    wrap(tmp_path / "core.onnx", tmp_path / "model.onnx", num_classes=4)
    session = open_session(tmp_path / "model.onnx", threads=1)
    assert not session.run(noise(*SIZE)).any()
    assert not session.run(noise(50, 20)).any()


@pytest.mark.parametrize("num_classes", [1, 255])
def test_fewest_and_most_classes(tmp_path, num_classes):
    write_affine_core(tmp_path / "core.onnx", num_classes=num_classes)
    wrap(tmp_path / "core.onnx", tmp_path / "model.onnx", num_classes=num_classes)
    session = open_session(tmp_path / "model.onnx", threads=1)
    for size in (SIZE, (20, 30)):
        mask_hw = session.run(np.full((*size, 3), 255, np.uint8))
        assert (mask_hw == num_classes - 1).all()


def test_same_core_gives_the_same_bytes(core, artifact, tmp_path):
    wrap(core, tmp_path / "again.onnx", num_classes=NUM_CLASSES)
    assert (tmp_path / "again.onnx").read_bytes() == artifact.read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (48, 32)}, "input must be"),
        ({"num_classes": 4}, "output must be"),
        ({"num_classes": 256}, "1 to 255, got 256"),
        ({"num_classes": 0}, "1 to 255, got 0"),
    ],
)
def test_core_of_another_shape_is_refused(core, tmp_path, changes, message):
    with pytest.raises(TrialError, match=message):
        wrap(core, tmp_path / "model.onnx", **({"num_classes": NUM_CLASSES} | changes))
    assert not list(tmp_path.iterdir())


def test_core_of_an_old_operator_set_is_refused(tmp_path):
    write_affine_core(tmp_path / "core.onnx", num_classes=2, opset=17)
    with pytest.raises(TrialError, match="operator set 18 or later, got 17"):
        wrap(tmp_path / "core.onnx", tmp_path / "model.onnx", num_classes=2)


def wrap(core, destination, *, num_classes, size=SIZE):
    wrap_network(core, destination, normalisation=NORMALISATION, size=size, num_classes=num_classes)


def write_affine_core(path, *, num_classes, gain=1.0, opset=18):
    """Class k gets k times the pixel: the last class wins where bright, the first where dark.

    Its input and output have the names of the wrapped graph's, which must not clash.
    """
    weight = np.zeros((num_classes, 3, 1, 1), np.float32)
    weight[:, 0, 0, 0] = gain * np.arange(num_classes)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight"], ["mask"])],
        "core",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *SIZE])],
        [helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, num_classes, *SIZE])],
        [numpy_helper.from_array(weight, "weight")],
    )
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
