"""The letterbox within the graph: that of the import, for photos of any size."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from automl.bundle.batched import batched, check_batched, different_images
from automl.bundle.loading import Bundle
from automl.bundle.logits import LogitsSession
from automl.bundle.manifest import InputContract
from automl.bundle.runtime import open_session
from automl.bundle.runtimes import open_onnxruntime
from automl.bundle.unwrap import unwrap_network
from automl.bundle.verify import verify_bundle
from automl.bundle.wrap import wrap_network
from automl.bundle.writing import write_bundle
from automl.data.letterbox import Frame
from automl.errors import TrialError
from automl.records import Normalisation
from automl.resize import Resize

SIZE = (32, 48)
NUM_CLASSES = 5
NORMALISATION = Normalisation(mean=(120.5, 110.0, 99.25), std=(60.0, 57.5, 52.0))
MEAN = np.array(NORMALISATION.mean)[:, None, None]
STD = np.array(NORMALISATION.std)[:, None, None]
LETTERBOX = Resize(mode="letterbox", padding=(120, 110, 99))
FRAME = Frame(SIZE, LETTERBOX)

SIZES = [
    (1, 1), (1, 7), (3, 1001), (1001, 3), (31, 48), (32, 47), (33, 49), (96, 144), (721, 963),
    (48, 32), (2000, 3000), (40, 5000), (64, 3),
]  # fmt: skip


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def letterboxed(core, tmp_path_factory):
    path = tmp_path_factory.mktemp("letterboxed") / "model.onnx"
    wrap_network(
        core,
        path,
        normalisation=NORMALISATION,
        size=SIZE,
        num_classes=NUM_CLASSES,
        resize=LETTERBOX,
    )
    return path


@pytest.fixture(scope="module")
def run(letterboxed):
    """Mask (H, W), pixels (1, 3, h, w) as the network gets them, logits, extent, start."""
    model = onnx.load(letterboxed)
    for name, channels in (("core/pixels_nchw", 3), ("core/logits_nkhw", NUM_CLASSES)):
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, *SIZE])
        model.graph.output.append(value)
    for name in ("automl/box_extent", "automl/box_start"):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.INT64, [2]))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return lambda image_hwc: session.run(None, {"image": image_hwc})


@pytest.mark.parametrize("size", SIZES)
def test_the_network_sees_what_an_import_makes(run, size):
    image_hwc = noise(*size)
    _, pixels_nchw, *_ = run(image_hwc)
    seen_chw = pixels_nchw[0] * STD + MEAN
    expected_chw = FRAME.image(image_hwc).transpose(2, 0, 1)
    assert np.abs(seen_chw - expected_chw).max() < 1.001
    box = FRAME.box(size)
    padding = np.ones(SIZE, bool)
    box.of(padding)[:] = False
    # The padding is exact: an edge that was a pixel off would be seen there.
    np.testing.assert_allclose(seen_chw[:, padding], expected_chw[:, padding], atol=1e-3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(height=st.integers(1, 400), width=st.integers(1, 400))
def test_the_box_in_the_graph_is_that_of_the_import(run, height, width):
    *_, extent, start = run(np.zeros((height, width, 3), np.uint8))
    box = FRAME.box((height, width))
    assert (*extent, *start) == (box.height, box.width, box.top, box.left)


@pytest.mark.parametrize("size", SIZES)
def test_the_mask_is_the_argmax_of_the_logits_without_their_padding(run, size):
    mask_hw, _, logits_nkhw, *_ = run(noise(*size))
    assert mask_hw.dtype == np.uint8
    assert mask_hw.shape == size
    box = FRAME.box(size)
    inner = torch.from_numpy(np.stack([box.of(each) for each in logits_nkhw[0]]))[None]
    expected = F.interpolate(inner, size, mode="bilinear", align_corners=False)[0]
    chosen = expected.gather(0, torch.from_numpy(mask_hw)[None].long())[0]
    # Equal up to rounding: a class may only win over another where the two are tied.
    assert float((expected.amax(dim=0) - chosen).max()) < 1e-5


def test_at_the_network_s_own_size_it_is_what_is_stretched(artifact, letterboxed):
    image = noise(*SIZE)
    masks = [open_session(path, threads=1).run(image) for path in (artifact, letterboxed)]
    np.testing.assert_array_equal(*masks)
    assert len(np.unique(masks[0])) >= 3


def test_at_other_ratios_it_is_not(artifact, letterboxed):
    image = noise(64, 20)
    stretched, boxed = (open_session(p, threads=1).run(image) for p in (artifact, letterboxed))
    assert (stretched != boxed).any()


def test_same_core_gives_the_same_bytes(core, letterboxed, tmp_path):
    wrap_network(
        core,
        tmp_path / "again.onnx",
        normalisation=NORMALISATION,
        size=SIZE,
        num_classes=NUM_CLASSES,
        resize=LETTERBOX,
    )
    assert (tmp_path / "again.onnx").read_bytes() == letterboxed.read_bytes()


def test_padding_without_a_colour_is_refused(core, tmp_path):
    with pytest.raises(TrialError, match="colour of its padding"):
        wrap_network(
            core,
            tmp_path / "model.onnx",
            normalisation=NORMALISATION,
            size=SIZE,
            num_classes=NUM_CLASSES,
            resize=Resize(mode="letterbox"),
        )


def test_the_network_is_found_in_it_again(core, letterboxed, artifact, tmp_path):
    for name, wrapped in (("boxed", letterboxed), ("stretched", artifact)):
        unwrap_network(wrapped, tmp_path / name, size=SIZE, num_classes=NUM_CLASSES)
    assert (tmp_path / "boxed").read_bytes() == (tmp_path / "stretched").read_bytes()


def test_its_form_for_batches_computes_the_same(letterboxed):
    content, images = letterboxed.read_bytes(), different_images((3, *SIZE, 3))
    check_batched(content, images)
    together = open_onnxruntime(batched(content, size=SIZE, batch=3), threads=1)(images)
    session = open_session(letterboxed, threads=1)
    np.testing.assert_array_equal(together, np.stack([session.run(each) for each in images]))


@pytest.fixture(scope="module")
def boxed_bundle(letterboxed, make_manifest, tmp_path_factory):
    place = tmp_path_factory.mktemp("boxed") / "bundle"
    contract = InputContract(size=SIZE, resize=LETTERBOX, normalisation=NORMALISATION)
    write_bundle(
        place,
        artifact=letterboxed,
        manifest=make_manifest(input=contract),
        golden=[noise(*SIZE), noise(50, 90)],
        model_card="# card\n",
    )
    return place


def test_a_bundle_says_so_and_replays(boxed_bundle):
    manifest = verify_bundle(boxed_bundle).manifest
    assert manifest.input.resize == LETTERBOX
    assert manifest.input.frame == FRAME


@pytest.mark.parametrize("size", [*SIZES[:10], SIZE])
def test_the_argmax_of_its_logits_is_its_mask(boxed_bundle, size):
    image, bundle = noise(*size), Bundle.load(boxed_bundle)
    found = LogitsSession.of(bundle, threads=1).run(image)
    assert found.shape == (NUM_CLASSES, *size)
    np.testing.assert_array_equal(found.argmax(0), bundle.predict(image))
