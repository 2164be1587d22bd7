import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from automl.measurement.quality import confusion_matrix, scores

CONFUSIONS = arrays(np.int64, (4, 4), elements=st.integers(0, 1000)).filter(lambda m: m.sum() > 0)


def test_rows_are_targets_and_columns_are_predictions():
    target_nhw = torch.tensor([[[0, 0, 1], [2, 255, 1]]], dtype=torch.uint8)
    pred_nhw = torch.tensor([[[0, 1, 1], [2, 2, 0]]])
    expected = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    confusion = confusion_matrix(pred_nhw, target_nhw, 3)
    assert confusion.dtype == torch.int64
    assert torch.equal(confusion, expected)


def test_an_ignored_batch_counts_nothing():
    confusion = confusion_matrix(torch.zeros(1, 2, 2).long(), torch.full((1, 2, 2), 255), 3)
    assert torch.equal(confusion, torch.zeros(3, 3, dtype=torch.int64))


@pytest.mark.parametrize(
    ("pred", "target", "said"),
    [
        ([[[0]]], [[[3]]], "target labels must be 0 to 2"),
        ([[[3]]], [[[0]]], "prediction labels must be 0 to 2"),
        ([[[-1]]], [[[0]]], "got -1 to -1"),
        ([[[0, 1]]], [[[0]]], "one shape"),
    ],
)
def test_labels_that_are_no_class_are_told(pred, target, said):
    with pytest.raises(ValueError, match=said):
        confusion_matrix(torch.tensor(pred), torch.tensor(target), 3)


def test_scores_of_a_matrix_worked_out_by_hand():
    result = scores(np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]]))
    assert result.iou == (pytest.approx(6 / 9), pytest.approx(3 / 6), None)
    assert result.dice_per_class == (pytest.approx(12 / 15), pytest.approx(6 / 9), None)
    assert result.miou == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert result.dice == pytest.approx((12 / 15 + 6 / 9) / 2)
    assert result.pixel_accuracy == pytest.approx(9 / 12)


def test_a_class_that_is_only_predicted_counts_as_missed():
    assert scores(np.array([[4, 1], [0, 0]])).iou == (pytest.approx(0.8), 0.0)


@pytest.mark.parametrize("wrong", [np.zeros((2, 3)), np.zeros(4), np.zeros((3, 3))])
def test_what_cannot_be_scored_is_an_error(wrong):
    with pytest.raises(ValueError, match=r"square|nothing to score"):
        scores(wrong)


@given(CONFUSIONS)
def test_scores_are_shares_and_dice_follows_from_iou(confusion):
    result = scores(confusion)
    assert 0 <= result.miou <= result.dice <= 1
    assert 0 <= result.pixel_accuracy <= 1
    for iou, dice in zip(result.iou, result.dice_per_class, strict=True):
        assert (iou is None) == (dice is None)
        if iou is not None:
            assert dice == pytest.approx(2 * iou / (1 + iou))


@given(CONFUSIONS, st.permutations(range(4)))
def test_the_names_of_the_classes_do_not_matter(confusion, order):
    renamed = confusion[np.ix_(order, order)]
    assert scores(renamed).miou == pytest.approx(scores(confusion).miou)
    assert scores(renamed).iou == tuple(scores(confusion).iou[place] for place in order)


@given(CONFUSIONS, st.integers(2, 50))
def test_more_images_of_the_same_kind_change_nothing(confusion, times):
    assert scores(confusion * times).miou == pytest.approx(scores(confusion).miou)
