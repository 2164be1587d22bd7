"""The losses against their definitions, written as plain loops over pixels."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.training.losses import CombinedLoss, dice_loss, focal_loss

SHAPE = (2, 3, 3, 2)


def pixels(logits_nkhw, target_nhw):
    n, k, h, w = logits_nkhw.shape
    for i in range(n):
        for y in range(h):
            for x in range(w):
                label = int(target_nhw[i, y, x])
                if label == 255:
                    continue
                powers = [math.exp(float(logits_nkhw[i, c, y, x])) for c in range(k)]
                yield label, [power / sum(powers) for power in powers]


def loop_dice(logits_nkhw, target_nhw, weights):
    k = logits_nkhw.shape[1]
    overlap, predicted, labelled = [0.0] * k, [0.0] * k, [0] * k
    for label, probabilities in pixels(logits_nkhw, target_nhw):
        overlap[label] += probabilities[label]
        labelled[label] += 1
        for c in range(k):
            predicted[c] += probabilities[c]
    present = [c for c in range(k) if labelled[c]]
    total = sum(weights[c] for c in present)
    if total == 0:
        return 0.0
    losses = {c: 1 - 2 * overlap[c] / (predicted[c] + labelled[c]) for c in present}
    return sum(weights[c] * losses[c] for c in present) / total


def loop_focal(logits_nkhw, target_nhw, gamma, weights):
    lost = total = 0.0
    for label, probabilities in pixels(logits_nkhw, target_nhw):
        p = probabilities[label]
        lost += weights[label] * -((1 - p) ** gamma) * math.log(p)
        total += weights[label]
    return lost / total if total else 0.0


def batch(seed, ignored_share):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(SHAPE, generator=generator, dtype=torch.float64) * 2
    target = torch.randint(0, 3, (2, 3, 2), generator=generator)
    ignored = torch.rand((2, 3, 2), generator=generator) < ignored_share
    return logits, torch.where(ignored, 255, target)


seeds = st.integers(0, 2**31)
shares = st.sampled_from([0.0, 0.3, 0.8, 1.1])
weightings = st.none() | st.tuples(*[st.floats(0.1, 5)] * 3)


@settings(deadline=None)
@given(seed=seeds, share=shares, weights=weightings)
def test_dice_is_that_of_plain_loops(seed, share, weights):
    logits, target = batch(seed, share)
    tensor = None if weights is None else torch.tensor(weights)
    exact = [1.0] * 3 if weights is None else tensor.tolist()
    expected = loop_dice(logits, target, exact)
    assert float(dice_loss(logits, target, class_weights=tensor)) == pytest.approx(
        expected, rel=1e-9, abs=1e-12
    )


@settings(deadline=None)
@given(seed=seeds, share=shares, weights=weightings, gamma=st.floats(0, 5))
def test_focal_is_that_of_plain_loops(seed, share, weights, gamma):
    logits, target = batch(seed, share)
    tensor = None if weights is None else torch.tensor(weights)
    exact = [1.0] * 3 if weights is None else tensor.tolist()
    expected = loop_focal(logits, target, gamma, exact)
    assert float(focal_loss(logits, target, gamma, tensor)) == pytest.approx(
        expected, rel=1e-9, abs=1e-12
    )


@settings(deadline=None)
@given(seed=seeds, alpha=st.floats(0, 1), gamma=st.floats(0, 5))
def test_combined_is_the_weighted_sum(seed, alpha, gamma):
    logits, target = batch(seed, 0.3)
    expected = alpha * loop_dice(logits, target, [1.0] * 3)
    expected += (1 - alpha) * loop_focal(logits, target, gamma, [1.0] * 3)
    assert float(CombinedLoss(alpha, gamma)(logits, target)) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(seed=seeds, weights=weightings)
def test_focal_without_focus_is_the_cross_entropy(seed, weights):
    logits, target = batch(seed, 0.3)
    target[0, 0, 0] = 0
    tensor = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    expected = F.cross_entropy(logits, target, weight=tensor, ignore_index=255)
    torch.testing.assert_close(focal_loss(logits, target, 0.0, tensor), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.7])
@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 1.0)])
def test_gradients_are_those_of_finite_differences(gamma, weights):
    logits, target = batch(7, 0.3)
    loss = CombinedLoss(0.4, gamma, None if weights is None else torch.tensor(weights))
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda values: loss(values, target), (logits,))


def loop_binary_cross_entropy(difference_nhw, target_nhw):
    """-[y log s + (1 - y) log(1 - s)], s the sigmoid, over the pixels that are not ignored."""
    losses = []
    for logit, label in zip(difference_nhw.flatten(), target_nhw.flatten(), strict=True):
        if label != 255:
            s = 1 / (1 + math.exp(-float(logit)))
            losses.append(-math.log(s if label == 1 else 1 - s))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_of_two_classes_it_is_binary_cross_entropy_and_dice(alpha):
    """A softmax of two logits is the sigmoid of their difference, and so are the gradients."""
    generator = torch.Generator().manual_seed(6)
    logits = torch.randn((2, 2, 3, 2), generator=generator, dtype=torch.float64) * 3
    target = torch.randint(0, 2, (2, 3, 2), generator=generator)
    target[0, 0, 0] = 255
    logits.requires_grad_()
    difference = logits[:, 1] - logits[:, 0]
    loss = CombinedLoss(alpha, 0.0)(logits, target)
    pixel = loop_binary_cross_entropy(difference.detach(), target)
    region = loop_dice(logits.detach(), target, [1.0, 1.0])
    assert loss.item() == pytest.approx(alpha * region + (1 - alpha) * pixel, rel=1e-9)
    known = target != 255
    torchs = F.binary_cross_entropy_with_logits(difference[known], target[known].double())
    expected = (1 - alpha) * torchs + alpha * dice_loss(logits, target)
    torch.testing.assert_close(
        *(torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (loss, expected))
    )
