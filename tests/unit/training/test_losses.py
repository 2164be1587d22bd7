import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.training.losses import (
    CombinedLoss,
    class_weights_from,
    dice_loss,
    focal_loss,
)
from automl.training.losses.labelled import class_sums_by_index, class_sums_by_mask


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 3.0])])
def test_batch_without_labels_loses_nothing_and_has_a_zero_gradient(alpha, weights):
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = CombinedLoss(alpha, 2.0, weights)(logits, torch.full((2, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0
    assert torch.count_nonzero(logits.grad) == 0


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
def test_certain_predictions_have_finite_gradients(gamma):
    logits = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).repeat(1, 1, 1, 2).requires_grad_()
    loss = focal_loss(logits, torch.tensor([[[0, 1]]]), gamma)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 1, 0, 1] < 0 < logits.grad[0, 0, 0, 1]
    assert torch.count_nonzero(logits.grad[..., 0]) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits = torch.randn(1, 3, 8, 8).to(dtype)
    target = torch.randint(0, 3, (1, 8, 8))
    loss = CombinedLoss(0.5, 2.0)
    assert loss(logits, target).dtype == torch.float32
    assert loss(logits, target) == loss(logits.float(), target)


def test_float64_stays_float64():
    logits, target = torch.randn(1, 3, 4, 4).double(), torch.randint(0, 3, (1, 4, 4))
    assert CombinedLoss(0.5, 2.0, torch.ones(3))(logits, target).dtype == torch.float64


def test_perfect_prediction_loses_nothing():
    target = torch.randint(0, 3, (2, 5, 5))
    logits = 100 * torch.nn.functional.one_hot(target, 3).permute(0, 3, 1, 2).float()
    assert dice_loss(logits, target).item() == pytest.approx(0, abs=1e-6)
    assert focal_loss(logits, target, 2.0).item() == pytest.approx(0, abs=1e-6)


def test_dice_leaves_absent_classes_out():
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    logits = torch.zeros(1, 4, 4, 4)
    # p = 1/4 everywhere: dice of class 0 is 2 * 4 / (4 + 16).
    assert dice_loss(logits, target).item() == pytest.approx(1 - 8 / 20)


@settings(deadline=None)
@given(
    values=st.lists(st.floats(-3, 3), min_size=12, max_size=12),
    labels=st.lists(st.integers(0, 3), min_size=12, max_size=12),
)
def test_both_ways_to_sum_by_class_agree(values, labels):
    values_nhw = torch.tensor(values, dtype=torch.float64).view(1, 3, 4)
    label_nhw = torch.tensor(labels).view(1, 3, 4)
    torch.testing.assert_close(
        class_sums_by_index(values_nhw, label_nhw, 4),
        class_sums_by_mask(values_nhw, label_nhw, 4),
    )


@pytest.mark.parametrize("sums_of", [class_sums_by_index, class_sums_by_mask])
def test_sums_over_a_batch_of_real_size_are_those_of_double_precision(sums_of):
    """Half a million values, added one by one in single precision: off in the fourth digit."""
    generator = torch.Generator().manual_seed(0)
    values_nhw = 0.9 + 0.1 * torch.rand(12, 192, 256, generator=generator)
    label_nhw = (torch.rand(12, 192, 256, generator=generator) < 0.01).long()
    found = sums_of(values_nhw, label_nhw, 2)
    wanted = [float(values_nhw[label_nhw == label].double().sum()) for label in (0, 1)]
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx(wanted, rel=3e-7)


def test_dice_of_a_batch_of_real_size_is_that_of_double_precision():
    generator = torch.Generator().manual_seed(1)
    target_nhw = (torch.rand(8, 192, 256, generator=generator) < 0.02).long()
    logits_nkhw = torch.randn(8, 2, 192, 256, generator=generator)
    logits_nkhw.scatter_add_(1, target_nhw[:, None], torch.full_like(logits_nkhw, 9.0))
    exact = float(dice_loss(logits_nkhw.double(), target_nhw))
    assert float(dice_loss(logits_nkhw, target_nhw)) == pytest.approx(exact, rel=1e-3)


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 1), min_size=2, max_size=12))
def test_balanced_weights_are_one_over_the_root_and_weigh_a_random_pixel_as_one(raw):
    shares = [share / sum(raw) for share in raw]
    weights = class_weights_from(shares, kind="balanced").double()
    assert float(weights @ torch.tensor(shares).double()) == pytest.approx(1, rel=1e-5)
    for share, weight in zip(shares, weights, strict=True):
        ratio = float(weight / weights[0])
        assert ratio == pytest.approx((share / shares[0]) ** -0.5, rel=1e-5)


def test_class_without_pixels_weighs_nothing():
    assert class_weights_from([0.5, 0.0, 0.5], kind="balanced").tolist() == [1, 0, 1]


def test_no_class_weights_are_none():
    assert class_weights_from([0.5, 0.5], kind="none") is None


def test_shares_without_a_positive_one_are_refused():
    with pytest.raises(ValueError, match="one positive"):
        class_weights_from([0.0, 0.0], kind="balanced")


@pytest.mark.parametrize(
    ("alpha", "gamma", "weights", "rule"),
    [
        (1.1, 2.0, None, "alpha must be within 0 to 1, got 1.1"),
        (0.5, -1.0, None, "gamma must be at least 0"),
        (0.5, 2.0, torch.tensor([-1.0, 1.0]), "must not be negative"),
    ],
)
def test_bad_settings_are_refused(alpha, gamma, weights, rule):
    with pytest.raises(ValueError, match=rule):
        CombinedLoss(alpha, gamma, weights)
