"""The confusion matrix and its scores against scikit-learn and against plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, jaccard_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from automl.measurement.quality import confusion_matrix, scores

CLASSES = 5


@st.composite
def labelled(draw):
    """Predictions and targets of a few small images; some pixels ignored, some classes absent."""
    seed = draw(st.integers(0, 2**32 - 1))
    count = draw(st.integers(1, 3))
    present = draw(st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=CLASSES))
    generator = np.random.default_rng(seed)
    shape = (count, 5, 7)
    target = generator.choice(present, shape)
    pred = np.where(generator.random(shape) < 0.5, target, generator.choice(present, shape))
    target[generator.random(shape) < 0.2] = 255
    target[0, 0, 0] = present[0]
    return pred, target


def measured(pred, target):
    return confusion_matrix(torch.from_numpy(pred), torch.from_numpy(target), CLASSES).numpy()


@settings(deadline=None)
@given(labelled())
def test_confusion_and_scores_agree_with_scikit_learn(images):
    pred, target = images
    known = target != 255
    y_true, y_pred = target[known], pred[known]
    ours = measured(pred, target)
    assert np.array_equal(ours, sklearn_confusion(y_true, y_pred, labels=range(CLASSES)))
    # Without `labels`, scikit-learn averages over the classes that occur in either.
    result = scores(ours)
    assert result.miou == pytest.approx(jaccard_score(y_true, y_pred, average="macro"))
    assert result.dice == pytest.approx(f1_score(y_true, y_pred, average="macro"))
    assert result.pixel_accuracy == pytest.approx(accuracy_score(y_true, y_pred))


@settings(deadline=None, max_examples=25)
@given(labelled())
def test_scores_agree_with_counting_pixel_by_pixel(images):
    pred, target = images
    result = scores(measured(pred, target))
    pixels = [(t, p) for t, p in zip(target.flat, pred.flat, strict=True) if t != 255]
    for k in range(CLASSES):
        both = sum(t == k and p == k for t, p in pixels)
        either = sum(k in (t, p) for t, p in pixels)
        assert result.iou[k] == (pytest.approx(both / either) if either else None)


@settings(deadline=None, max_examples=25)
@given(labelled())
def test_parts_of_a_data_set_add_up_to_the_whole(images):
    pred, target = images
    parts = sum(measured(pred[i : i + 1], target[i : i + 1]) for i in range(len(pred)))
    assert np.array_equal(parts, measured(pred, target))


def test_scores_of_a_data_set_are_not_the_mean_over_its_images():
    target = np.array([[[0, 0, 0, 0]], [[0, 0, 0, 1]]])
    pred = np.array([[[0, 0, 0, 1]], [[0, 0, 0, 1]]])
    of_images = [scores(measured(pred[i : i + 1], target[i : i + 1])).miou for i in range(2)]
    assert scores(measured(pred, target)).miou == pytest.approx((6 / 7 + 1 / 2) / 2)
    assert np.mean(of_images) == pytest.approx(((3 / 4 + 0) / 2 + 1) / 2)
