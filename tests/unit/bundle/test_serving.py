import numpy as np
import onnxruntime
import pytest

from automl.bundle import serving
from automl.bundle.batched import ANY, write_batched
from automl.bundle.loading import Bundle
from automl.bundle.serving import BatchedModel
from automl.errors import BundleError, UsageError

RANDOM = np.random.default_rng(8)


def images(*sizes):
    return [RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def test_images_of_the_network_s_size_share_a_run_and_all_get_their_own_masks(bundle):
    model = BatchedModel.load(bundle, threads=1, batch=4)
    assert model.reason is None
    runs = []

    def together(stacked):
        runs.append(len(stacked))
        return model.together(stacked)

    given = images((32, 48), (10, 11), (32, 48), (48, 32), (32, 48))
    watched = BatchedModel(model.manifest, model.single, together, None)
    masks = watched.predict(given)
    alone = Bundle.load(bundle)
    for image, mask in zip(given, masks, strict=True):
        np.testing.assert_array_equal(mask, alone.predict(image))
    assert runs == [3]
    watched.predict(given[:2])
    assert runs == [3]


def test_a_batch_of_one_needs_no_other_form(bundle):
    model = BatchedModel.load(bundle, threads=1, batch=1)
    assert model.together is None
    assert [mask.shape for mask in model.predict(images((32, 48), (5, 4)))] == [(32, 48), (5, 4)]


def test_a_network_for_single_images_is_served_one_by_one(bundle, monkeypatch):
    def refuse(*_args, **_how):
        raise BundleError("made for 1 image")

    monkeypatch.setattr(serving, "check_batched", refuse)
    model = BatchedModel.load(bundle, threads=1, batch=4)
    assert (model.together, model.reason) == (None, "made for 1 image")
    assert len(model.predict(images((32, 48), (32, 48)))) == 2


@pytest.mark.parametrize("batch", [ANY, 3])
def test_the_form_for_batches_can_be_had_as_a_file(bundle, tmp_path, batch):
    out = tmp_path / "batched.onnx"
    assert write_batched(bundle, out, batch=batch) == (32, 48)
    session = onnxruntime.InferenceSession(out)
    given = np.stack(images(*[(32, 48)] * 3))
    alone = Bundle.load(bundle)
    (masks,) = session.run(None, {"images": given})
    np.testing.assert_array_equal(masks, [alone.predict(image) for image in given])
    if batch == ANY:
        assert session.run(None, {"images": given[:1]})[0].shape == (1, 32, 48)
    with pytest.raises(UsageError, match=r"must end in \.onnx"):
        write_batched(bundle, tmp_path / "x.bin", batch=batch)
