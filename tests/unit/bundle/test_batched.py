import numpy as np
import pytest
from torch import nn

from automl.bundle.batched import batched, check_batched
from automl.bundle.network import export_network
from automl.bundle.runtime import open_session
from automl.bundle.runtimes import open_onnxruntime
from automl.bundle.wrap import wrap_network
from automl.errors import BundleError
from automl.records import Normalisation

SIZE = (32, 48)
NORMALISATION = Normalisation(mean=(120.5, 110.0, 99.25), std=(60.0, 57.5, 52.0))


def images(batch):
    return np.random.default_rng(1).integers(0, 256, (batch, *SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("batch", [1, 3])
def test_each_image_of_a_batch_gets_the_mask_that_the_bundle_gives_it(artifact, batch):
    content = batched(artifact.read_bytes(), size=SIZE, batch=batch)
    masks_nhw = open_onnxruntime(content, threads=1)(images(batch))
    session = open_session(artifact, threads=1)
    assert masks_nhw.dtype == np.uint8
    for image_hwc, mask_hw in zip(images(batch), masks_nhw, strict=True):
        np.testing.assert_array_equal(mask_hw, session.run(image_hwc))
    check_batched(artifact.read_bytes(), images(batch))


def test_the_same_bundle_gives_the_same_bytes(artifact):
    first, second = (batched(artifact.read_bytes(), size=SIZE, batch=2) for _ in range(2))
    assert first == second


class MadeForOne(nn.Module):
    """A shape with a batch of 1 in it, as traced networks with attention have."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, pixels_nchw):
        return self.conv(pixels_nchw).reshape(1, 5, -1).reshape(1, 5, *SIZE)


class MixesImages(nn.Module):
    """Computes the same as others for one image, and mixes those of a larger batch."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, pixels_nchw):
        logits_nkhw = self.conv(pixels_nchw)
        return logits_nkhw.cumsum(dim=0)


@pytest.mark.parametrize(
    ("network", "told"), [(MadeForOne, "1 image at a time"), (MixesImages, "something else of 3")]
)
def test_a_network_that_works_on_one_image_only_is_refused(tmp_path, network, told):
    core, wrapped = tmp_path / "core.onnx", tmp_path / "model.onnx"
    export_network(network(), size=SIZE, path=core)
    wrap_network(core, wrapped, normalisation=NORMALISATION, size=SIZE, num_classes=5)
    check_batched(wrapped.read_bytes(), images(1))
    with pytest.raises(BundleError, match=told):
        check_batched(wrapped.read_bytes(), images(3))


def test_what_is_no_bundle_is_refused(core):
    with pytest.raises(BundleError, match="not the graph of a bundle"):
        batched(core.read_bytes(), size=SIZE, batch=2)
