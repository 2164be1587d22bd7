import numpy as np
import pytest

from automl.bundle.evaluation import counts_of
from automl.bundle.runtime import open_session


def read_only(array):
    array.flags.writeable = False
    return array


def test_confusion_counts_the_pixels_of_all_images(artifact):
    random = np.random.default_rng(4)
    sizes = [(32, 48), (32, 48), (20, 30)]
    images = [read_only(random.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]
    masks = [random.integers(0, 5, size, dtype=np.uint8) for size in sizes]
    for mask in masks:
        mask[:4] = 255
        read_only(mask)
    session = open_session(artifact, threads=1)
    expected = np.zeros((5, 5), np.int64)
    for image, mask in zip(images, masks, strict=True):
        for target, pred in zip(mask.ravel(), session.run(image).ravel(), strict=True):
            if target != 255:
                expected[target, pred] += 1
    counts = counts_of(session, iter(images), iter(masks), 5)
    confusion = counts.confusion_kk
    np.testing.assert_array_equal(counts.hits_nk.sum(0), np.diagonal(expected))
    np.testing.assert_array_equal(counts.both_nk.sum(0), expected.sum(0) + expected.sum(1))
    assert counts.hits_nk.shape == (3, 5)
    assert confusion.dtype == np.int64
    np.testing.assert_array_equal(confusion, expected)
    assert (confusion.sum(axis=0) > 0).sum() > 1


def test_missing_mask_is_refused(artifact):
    session = open_session(artifact, threads=1)
    with pytest.raises(ValueError, match="shorter"):
        counts_of(session, [np.zeros((4, 4, 3), np.uint8)], [], 5)
