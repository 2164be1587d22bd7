"""The losses that options choose, against definitions written apart from them."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.training.losses import CombinedLoss, LossOptions, class_weights_from
from automl.training.losses.boundary import band_radius, near_boundary
from automl.training.losses.pixel import LEAST_KEPT

K = 3


def batch(seed, ignored_share, shape=(2, 3, 4)):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(shape[0], K, *shape[1:])) * 2
    target = rng.integers(0, rng.integers(1, K + 1), shape)
    target[rng.random(shape) < ignored_share] = 255
    return torch.from_numpy(logits), torch.from_numpy(target)


def labelled(logits, target):
    """Probabilities (P, K) and labels (P,) of the labelled pixels, as numpy arrays."""
    pixels = logits.numpy().transpose(0, 2, 3, 1).reshape(-1, K)
    powers = np.exp(pixels)
    labels = target.numpy().ravel()
    return (powers / powers.sum(1, keepdims=True))[labels != 255], labels[labels != 255]


def generalised_dice(probabilities, labels, weights):
    above = below = 0.0
    for k in set(labels.tolist()):
        area = (labels == k).sum()
        w = weights[k] / area**2
        above += w * probabilities[labels == k, k].sum()
        below += w * (area + probabilities[:, k].sum())
    return 1 - 2 * above / below if below else 0.0


def foreground_dice(probabilities, labels, weights):
    """A loop over the classes with labels, without the ground where there are others."""
    found = sorted(set(labels.tolist()))
    classes = [k for k in found if k > 0] or found
    scores = []
    for k in classes:
        hit = sum(p[k] for p, label in zip(probabilities, labels, strict=True) if label == k)
        scores.append(2 * hit / (probabilities[:, k].sum() + (labels == k).sum()))
    total = sum(weights[k] for k in classes)
    return sum(weights[k] * (1 - s) for k, s in zip(classes, scores, strict=True)) / (total or 1)


def lovasz(probabilities, labels, weights):
    """The extension by its definition: the mean of set losses over the thresholds of the errors."""
    total = weight = 0.0
    for k in set(labels.tolist()):
        errors = np.where(labels == k, 1 - probabilities[:, k], probabilities[:, k])
        bounds = [0.0, *sorted(errors)]
        value = 0.0
        for low, high in pairwise(bounds):
            wrong = set(np.flatnonzero(errors >= high).tolist())
            true = set(np.flatnonzero(labels == k).tolist())
            value += (high - low) * (len(wrong) / len(true | wrong))
        total += weights[k] * value
        weight += weights[k]
    return total / weight if weight else 0.0


DEFINITIONS = {
    "foreground_dice": foreground_dice,
    "generalised_dice": generalised_dice,
    "lovasz": lovasz,
}
seeds = st.integers(0, 2**31)
shares = st.sampled_from([0.0, 0.3, 0.8, 1.1])
weightings = st.none() | st.tuples(*[st.floats(0.1, 5)] * K)


@settings(deadline=None)
@given(seed=seeds, share=shares, weights=weightings, name=st.sampled_from(sorted(DEFINITIONS)))
def test_region_losses_are_those_of_their_definitions(seed, share, weights, name):
    logits, target = batch(seed, share)
    tensor = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    loss = CombinedLoss(1.0, 0.0, tensor, LossOptions(region_loss=name))
    exact = (1.0,) * K if weights is None else weights
    expected = DEFINITIONS[name](*labelled(logits, target), exact)
    assert float(loss(logits, target)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_lovasz_of_a_decided_prediction_is_one_minus_the_mean_iou():
    """On the corners of the cube the extension is the set loss itself."""
    rng = np.random.default_rng(3)
    target, guess = (torch.from_numpy(rng.integers(0, K, (2, 6, 6))) for _ in range(2))
    logits = 1000.0 * F.one_hot(guess, K).permute(0, 3, 1, 2).double()
    ious = [
        ((target == k) & (guess == k)).sum() / ((target == k) | (guess == k)).sum()
        for k in range(K)
    ]
    loss = CombinedLoss(1.0, 0.0, None, LossOptions(region_loss="lovasz"))
    assert float(loss(logits, target)) == pytest.approx(1 - float(sum(ious)) / K)


@settings(deadline=None)
@given(seed=seeds, weights=weightings, smoothing=st.floats(0, 0.5))
def test_smoothed_cross_entropy_is_torchs(seed, weights, smoothing):
    logits, target = batch(seed, 0.3)
    target[0, 0, 0] = 0
    tensor = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    expected = F.cross_entropy(
        logits, target, weight=tensor, ignore_index=255, label_smoothing=smoothing
    )
    loss = CombinedLoss(0.0, 0.0, tensor, LossOptions(label_smoothing=smoothing))
    torch.testing.assert_close(loss(logits, target), expected)


@settings(deadline=None)
@given(seed=seeds, gamma=st.floats(0, 4), smoothing=st.floats(0.01, 0.5))
def test_smoothed_focal_is_the_focal_of_soft_labels(seed, gamma, smoothing):
    logits, target = batch(seed, 0.3)
    probabilities, labels = labelled(logits, target)
    soft = (1 - smoothing) * np.eye(K)[labels] + smoothing / K
    losses = -(soft * (1 - probabilities) ** gamma * np.log(probabilities)).sum(1)
    loss = CombinedLoss(0.0, gamma, None, LossOptions(label_smoothing=smoothing))
    expected = losses.mean() if len(losses) else 0.0
    assert float(loss(logits, target)) == pytest.approx(expected, rel=1e-9)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, share=st.floats(0.01, 1), weights=weightings, gamma=st.sampled_from([0.0, 2.0]))
def test_ohem_is_the_mean_over_the_least_likely_labels(seed, share, weights, gamma):
    logits, target = batch(seed, 0.3, shape=(2, 20, 20))
    tensor = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    probabilities, labels = labelled(logits, target)
    exact = np.ones(K) if weights is None else np.array(weights)
    count = min(len(labels), max(LEAST_KEPT, math.ceil(share * len(labels))))
    hard = np.argsort(probabilities[np.arange(len(labels)), labels])[:count]
    p, w = probabilities[hard, labels[hard]], exact[labels[hard]]
    expected = (w * -((1 - p) ** gamma) * np.log(p)).sum() / w.sum()
    loss = CombinedLoss(0.0, gamma, tensor, LossOptions(ohem_share=share))
    assert float(loss(logits, target)) == pytest.approx(expected, rel=1e-9)


def near(target, radius):
    """By brute force: a label changes between two neighbours, one of them within the square."""
    _, height, width = target.shape
    found = np.zeros(target.shape, bool)
    touches = np.zeros(target.shape, bool)
    for i, y, x in np.ndindex(target.shape):
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            if 0 <= y + dy < height and 0 <= x + dx < width:
                pair = {int(target[i, y, x]), int(target[i, y + dy, x + dx])}
                touches[i, y, x] |= len(pair) == 2 and 255 not in pair
    for i, y, x in np.ndindex(target.shape):
        rows = slice(max(0, y - radius + 1), y + radius)
        columns = slice(max(0, x - radius + 1), x + radius)
        found[i, y, x] = touches[i, rows, columns].any() and target[i, y, x] != 255
    return found


@settings(deadline=None, max_examples=25)
@given(seed=seeds, size=st.sampled_from([(3, 4), (40, 50), (20, 150)]), flips=st.integers(0, 12))
def test_boundary_band_is_that_of_brute_force(seed, size, flips):
    rng = np.random.default_rng(seed)
    target = np.zeros((2, *size), np.int64)
    for _ in range(flips):
        y, x = rng.integers(size[0]), rng.integers(size[1])
        target[rng.integers(2), y : y + 4, x : x + 7] = rng.choice([0, 1, 2, 255])
    expected = near(target, band_radius(*size))
    assert np.array_equal(near_boundary(torch.from_numpy(target)).numpy(), expected)


@settings(deadline=None, max_examples=25)
@given(seed=seeds, extra=st.floats(0, 20), weights=weightings)
def test_boundary_weight_is_a_weight_of_pixels(seed, extra, weights):
    logits, target = batch(seed, 0.2, shape=(2, 5, 6))
    tensor = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    each = F.cross_entropy(logits, target, weight=tensor, ignore_index=255, reduction="none")
    counted = (target != 255) * (1 + extra * torch.from_numpy(near(target.numpy(), 1)))
    of_label = 1.0 if tensor is None else tensor[torch.where(target == 255, 0, target)]
    total = (counted * of_label).sum()
    loss = CombinedLoss(0.0, 0.0, tensor, LossOptions(boundary_weight=extra))
    expected = (counted * each).sum() / total
    assert float(loss(logits, target)) == pytest.approx(float(expected), rel=1e-6)
    assert float(loss.weight(target)) == pytest.approx(float(total), rel=1e-6)


@settings(deadline=None)
@given(seed=seeds)
def test_two_classes_have_the_binary_cross_entropy(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((2, 2, 3, 4), generator=generator, dtype=torch.float64)
    target = torch.randint(0, 2, (2, 3, 4), generator=generator)
    expected = F.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], target.double())
    torch.testing.assert_close(CombinedLoss(0.0, 0.0)(logits, target), expected)


def test_two_classes_have_the_dice_of_the_foreground_where_the_ground_weighs_nothing():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 2, 3, 4), generator=generator, dtype=torch.float64)
    target = torch.randint(0, 2, (2, 3, 4), generator=generator)
    p, g = torch.sigmoid(logits[:, 1] - logits[:, 0]), target.double()
    expected = 1 - 2 * (p * g).sum() / (p.sum() + g.sum())
    loss = CombinedLoss(1.0, 0.0, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(loss(logits, target), expected)


@settings(deadline=None)
@given(
    raw=st.lists(st.floats(1e-6, 1), min_size=2, max_size=12),
    num_images=st.integers(1, 100_000),
)
def test_effective_weights_are_the_inverse_of_a_geometric_sum(raw, num_images):
    """`E_n` is `1 + beta + ... + beta^(n-1)`: its growth shrinks by beta with each sample."""
    shares = [share / sum(raw) for share in raw]
    weights = class_weights_from(shares, kind="effective", num_images=num_images).double()
    assert float(weights @ torch.tensor(shares).double()) == pytest.approx(1, rel=1e-5)
    for share, weight in zip(shares, weights, strict=True):
        numbers = [(1 - 0.999 ** (s * num_images)) for s in (share, shares[0])]
        assert float(weight / weights[0]) == pytest.approx(numbers[1] / numbers[0], rel=1e-4)


def test_effective_weights_of_whole_numbers_of_images():
    shares, images = (0.25, 0.75), 4000
    numbers = [sum(0.999**i for i in range(round(share * images))) for share in shares]
    first, second = class_weights_from(shares, kind="effective", num_images=images).tolist()
    assert first / second == pytest.approx(numbers[1] / numbers[0], rel=1e-5)
    # Both classes are beyond 1 / (1 - beta) images or near it: their weights differ little.
    assert 1 < first / second < 1.6


@pytest.mark.parametrize(
    "options",
    [
        LossOptions(region_loss="foreground_dice"),
        LossOptions(region_loss="generalised_dice"),
        LossOptions(region_loss="lovasz"),
        LossOptions(label_smoothing=0.1, boundary_weight=3.0),
    ],
    ids=str,
)
def test_gradients_are_those_of_finite_differences(options):
    logits, target = batch(7, 0.3)
    loss = CombinedLoss(0.4, 2.0, torch.tensor([0.5, 2.0, 1.0]), options)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda values: loss(values, target), (logits,))
