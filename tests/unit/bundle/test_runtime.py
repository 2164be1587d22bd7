import numpy as np
import pytest

from automl.bundle.runtime import open_core, open_session
from automl.errors import BundleError


def test_number_of_threads_does_not_change_the_mask(artifact):
    image_hwc = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    one, two = (open_session(artifact, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.run(image_hwc), two.run(image_hwc))


def test_strided_view_gives_the_mask_of_its_copy(artifact):
    session = open_session(artifact, threads=1)
    view = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)[::-1, ::2]
    np.testing.assert_array_equal(session.run(view), session.run(view.copy()))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"uint8 of shape \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "got float32"),
        (np.zeros((0, 4, 3), np.uint8), "must have pixels"),
    ],
)
def test_other_arrays_are_refused(artifact, image, message):
    with pytest.raises(BundleError, match=message):
        open_session(artifact, threads=1).run(image)


def test_files_that_are_no_wrapped_network_are_refused(core, tmp_path):
    with pytest.raises(BundleError, match="no such file"):
        open_session(tmp_path / "none.onnx", threads=1)
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(BundleError, match=r"bad\.onnx: ONNX Runtime cannot open it"):
        open_session(tmp_path / "bad.onnx", threads=1)
    with pytest.raises(BundleError, match=r"but maps pixels_nchw: tensor\(float\)"):
        open_session(core, threads=1)
    with pytest.raises(BundleError, match="threads must be at least 1, got 0"):
        open_core(core, threads=0)


def test_core_gives_logits(core):
    assert open_core(core, threads=1).run(np.zeros((1, 3, 32, 48), np.float32)).shape == (
        (1, 5, 32, 48)
    )
