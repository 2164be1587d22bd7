"""Intervals of the IoU over images, against resampling done the long way."""

import numpy as np
import pytest

from automl.measurement import resampling
from automl.measurement.confusion import count_confusion
from automl.measurement.image_counts import ImageCounts, iou_intervals
from automl.measurement.resampling import RESAMPLES, bootstrap_blocks, bootstrap_weights
from automl.measurement.scores import scores

NUM_CLASSES = 3


def confusions(num_images, seed=0):
    """Of images that are unlike: the last class is in few, and ignored pixels are in all."""
    random = np.random.default_rng(seed)
    for number in range(num_images):
        present = NUM_CLASSES if number % 5 == 0 else NUM_CLASSES - 1
        target = random.integers(0, present, (8, 9))
        pred = np.where(random.random((8, 9)) < 0.1 + 0.05 * (number % 7), 0, target)
        target[0] = 255
        yield count_confusion(pred, target, NUM_CLASSES)


def test_the_interval_is_that_of_whole_matrices_resampled_one_by_one():
    found_nkk = np.stack(list(confusions(23)))
    drawn = [
        scores(np.tensordot(weights_n, found_nkk, axes=1))
        for weights_n in bootstrap_weights(23, RESAMPLES, 4)
    ]
    intervals = iou_intervals(ImageCounts.of(found_nkk, NUM_CLASSES), seed=4)
    assert intervals.mean == pytest.approx(
        tuple(np.quantile([each.miou for each in drawn], [0.025, 0.975]))
    )
    for label, interval in enumerate(intervals.classes):
        values = [each.iou[label] for each in drawn if each.iou[label] is not None]
        assert interval == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_the_interval_holds_the_score_and_narrows_with_more_images():
    widths = []
    for count in (10, 160):
        counts = ImageCounts.of(confusions(count), NUM_CLASSES)
        low, high = iou_intervals(counts, seed=0).mean
        assert low < scores(counts.confusion_kk).miou < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_the_interval_covers_as_often_as_it_says():
    """The IoU of the population is 0.5, of one class that half of each image's pixels hit."""
    random, inside = np.random.default_rng(0), 0
    for _ in range(100):
        hits = random.binomial(100, random.beta(5, 5, size=60))
        matrices = [np.array([[hit, 100 - hit], [0, 0]]) for hit in hits]
        low, high = iou_intervals(ImageCounts.of(matrices, 2), seed=1).classes[0]
        inside += low <= 0.5 <= high
    assert 88 <= inside <= 100


def test_a_class_that_no_image_has_and_a_single_image_have_no_interval():
    counts = ImageCounts.of([np.array([[5, 1, 0], [0, 4, 0], [0, 0, 0]])] * 3, NUM_CLASSES)
    assert iou_intervals(counts, seed=0).classes[2] is None
    one = ImageCounts.of([np.eye(NUM_CLASSES, dtype=np.int64)], NUM_CLASSES)
    assert iou_intervals(one, seed=0).mean is None
    assert iou_intervals(one, seed=0).classes == (None,) * NUM_CLASSES


def test_blocks_are_the_whole_in_parts(monkeypatch):
    whole = bootstrap_weights(11, 50, 3)
    monkeypatch.setattr(resampling, "_MOST_WEIGHTS", 11 * 8)
    blocks = list(bootstrap_blocks(11, 50, 3))
    assert [len(block) for block in blocks] == [8] * 6 + [2]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
