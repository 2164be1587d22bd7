"""What must hold of every loss that options choose."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.records import IGNORE
from automl.space.parameter_table import PARAMETERS
from automl.training.losses import CombinedLoss, LossOptions, class_weights_from
from automl.training.losses.region import REGION_LOSSES

K = 4
OPTIONS = [
    *(LossOptions(region_loss=name) for name in REGION_LOSSES),
    LossOptions(label_smoothing=0.2),
    LossOptions(ohem_share=0.1),
    LossOptions(boundary_weight=10.0),
    LossOptions(region_loss="lovasz", label_smoothing=0.1, ohem_share=0.25, boundary_weight=3.0),
]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)
every_alpha = pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
seeds = st.integers(0, 2**31)


def batch(seed, classes=K, ignored=0.2):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((2, K, 12, 16), generator=generator)
    target = torch.randint(0, classes, (2, 12, 16), generator=generator)
    target[torch.rand(target.shape, generator=generator) < ignored] = IGNORE
    return logits, target


def decided(target, strength):
    """Logits that favour the right class."""
    right = torch.where(target == IGNORE, 0, target)
    return strength * F.one_hot(right, K).permute(0, 3, 1, 2).float()


@every_option
@every_alpha
@settings(deadline=None, max_examples=10)
@given(seed=seeds, classes=st.integers(1, K), ignored=st.sampled_from([0.0, 0.5, 0.99]))
def test_losses_are_finite_not_negative_and_have_finite_gradients(
    options, alpha, seed, classes, ignored
):
    logits, target = batch(seed, classes, ignored)
    logits.requires_grad_()
    weights = torch.tensor([0.2, 1.0, 3.0, 0.0])
    for class_weights in (None, weights):
        loss = CombinedLoss(alpha, 2.0, class_weights, options)(logits, target)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss)
        assert loss >= 0
        assert torch.isfinite(gradient).all()
        if alpha == 1:
            assert loss <= 1 + 1e-5


@every_option
@every_alpha
@settings(deadline=None, max_examples=10)
@given(seed=seeds, order=st.permutations(range(K)))
def test_names_of_classes_do_not_matter(options, alpha, seed, order):
    if options.region_loss == "foreground_dice":
        order = [0, *(k for k in order if k > 0)]  # the ground is the first one by name
    logits, target = batch(seed)
    weights = torch.tensor([0.2, 1.0, 3.0, 0.7])
    renamed = torch.where(target == IGNORE, IGNORE, torch.tensor(order)[target.clamp_max(K - 1)])
    places = torch.tensor(order).argsort()
    torch.testing.assert_close(
        CombinedLoss(alpha, 2.0, weights, options)(logits, target),
        CombinedLoss(alpha, 2.0, weights[places], options)(logits[:, places], renamed),
    )


@every_option
@every_alpha
def test_what_ignored_pixels_are_predicted_as_does_not_matter(options, alpha):
    logits, target = batch(0)
    other = torch.where((target == IGNORE).unsqueeze(1), torch.randn(logits.shape), logits)
    loss = CombinedLoss(alpha, 2.0, None, options)
    torch.testing.assert_close(loss(logits, target), loss(other, target))


@every_option
@every_alpha
def test_batch_without_labels_loses_nothing_and_has_a_zero_gradient(options, alpha):
    logits = torch.randn(2, K, 4, 4, requires_grad=True)
    loss = CombinedLoss(alpha, 2.0, torch.ones(K), options)(logits, torch.full((2, 4, 4), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert torch.count_nonzero(logits.grad) == 0


@every_option
@every_alpha
@pytest.mark.parametrize("classes", [1, K - 1, K], ids=["no foreground", "one absent", "all"])
def test_losses_fall_as_predictions_improve(options, alpha, classes):
    _, target = batch(5, classes)
    loss = CombinedLoss(alpha, 2.0, None, options)
    steps = [float(loss(decided(target, strength), target)) for strength in (-2, 0, 1, 2)]
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) == len(steps)


@every_option
@every_alpha
@pytest.mark.parametrize("classes", [1, K - 1], ids=["no foreground", "one absent"])
def test_descent_unlearns_a_class_that_is_absent(options, alpha, classes):
    """A class is seen everywhere that no pixel is labelled with: descent takes it away."""
    _, target = batch(5, classes)
    logits = torch.zeros(2, K, 12, 16)
    logits[:, K - 1] = 2.0
    logits.requires_grad_()
    loss = CombinedLoss(alpha, 2.0, None, options)
    optimizer = torch.optim.SGD([logits], lr=50.0)
    first = loss(logits, target)
    for _ in range(30):
        optimizer.zero_grad()
        loss(logits, target).backward()
        optimizer.step()
    assert loss(logits, target) < first
    labelled = (target != IGNORE).unsqueeze(1)
    before, after = torch.tensor([0.0, 0, 0, 2]).softmax(0)[-1], logits.softmax(1)[:, -1:]
    assert after[labelled].mean() < 0.9 * before


@every_option
@every_alpha
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(options, alpha, dtype):
    logits, target = batch(1)
    loss = CombinedLoss(alpha, 2.0, torch.ones(K), options)
    assert loss(logits.to(dtype), target).dtype == torch.float32
    assert loss(logits.to(dtype), target) == loss(logits.to(dtype).float(), target)


@every_option
def test_certain_predictions_have_finite_gradients(options):
    _, target = batch(2)
    for strength in (-300.0, 300.0):
        logits = decided(target, strength).requires_grad_()
        CombinedLoss(0.5, 0.5, None, options)(logits, target).backward()
        assert torch.isfinite(logits.grad).all()


def test_options_that_change_nothing_give_the_plain_loss():
    logits, target = batch(3)
    plain = CombinedLoss(0.5, 2.0)(logits, target)
    assert CombinedLoss(0.5, 2.0, None, LossOptions(ohem_share=1.0))(logits, target) == plain


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        (
            {"region_loss": "tversky"},
            "one of dice, foreground_dice, generalised_dice, lovasz, got 'tversky'",
        ),
        ({"label_smoothing": 0.6}, "label_smoothing must be within 0 to 0.5, got 0.6"),
        ({"ohem_share": 0.0}, "ohem_share must be above 0 and at most 1, got 0.0"),
        ({"boundary_weight": -1.0}, "boundary_weight must be at least 0, got -1.0"),
    ],
)
def test_bad_options_are_refused(changes, rule):
    with pytest.raises(ValueError, match=rule):
        replace(LossOptions(), **changes)


def test_unknown_weights_are_refused():
    with pytest.raises(ValueError, match="one of none, balanced, effective, got 'rare'"):
        class_weights_from([0.5, 0.5], kind="rare")


def test_the_ground_is_no_part_of_foreground_dice_where_there_is_foreground():
    """By hand: of two pixels of the object one half is found; the ground's share does not count."""
    probability = torch.tensor([0.5, 0.5, 0.1, 0.1], dtype=torch.float64)
    logits = torch.stack([torch.log(1 - probability), torch.log(probability)]).view(1, 2, 2, 2)
    loss = CombinedLoss(1.0, 0.0, None, LossOptions(region_loss="foreground_dice"))
    found = loss(logits, torch.tensor([[[1, 1], [0, 0]]]))
    assert float(found) == pytest.approx(1 - 2 * 1.0 / (1.2 + 2))
    empty = loss(logits, torch.zeros(1, 2, 2, dtype=torch.int64))
    assert float(empty) == pytest.approx(1 - 2 * 2.8 / (2.8 + 4)), "false positives cost"


def test_every_name_of_a_space_has_its_loss_and_its_weights():
    assert set(PARAMETERS["region_loss"].options) == set(REGION_LOSSES)
    for kind in PARAMETERS["class_weights"].options:
        class_weights_from([0.5, 0.5], kind=kind)
