"""Feature matching and ensembles against their definitions in plain loops."""

import math

import pytest
import torch
from torch import nn

from automl.compression.distill import DistillationLoss, DistillationSettings, pixel_distillation
from automl.compression.ensemble import Ensemble, Renormalised
from automl.compression.matching import FeatureMatching, matching_loss, stage_shapes
from automl.models.build import build_model
from automl.records import ModelSpec, Normalisation
from automl.training.remembering import Remembering

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TARGET = torch.randint(0, 3, (2, 64, 64), generator=torch.Generator().manual_seed(1))


def net(seed=0, *, width=16, encoder="test_resnet"):
    spec = ModelSpec(encoder=encoder, decoder="fpn_lite", decoder_width=width)
    return build_model(spec, num_classes=3, size=(64, 64), seed=seed).eval()


def values(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_matching_is_half_the_mean_squared_difference_in_the_teachers_units():
    student, teacher = values(0, 2, 3, 2, 2), values(1, 2, 3, 2, 2)
    mine, other = student.flatten().tolist(), teacher.flatten().tolist()
    squares = [(a - b) ** 2 for a, b in zip(mine, other, strict=True)]
    unit = sum(b**2 for b in other) / len(other)
    expected = sum(squares) / len(squares) / unit / 2
    assert float(matching_loss(student, teacher)) == pytest.approx(expected, rel=1e-12)
    scaled = matching_loss(7 * student, 7 * teacher)
    assert float(scaled) == pytest.approx(expected, rel=1e-12)


def test_gradients_of_matching_are_those_of_finite_differences():
    student, teacher = values(0, 1, 2, 2, 2).requires_grad_(), values(1, 1, 2, 2, 2)
    assert torch.autograd.gradcheck(lambda given: matching_loss(given, teacher), (student,))


def test_half_precision_is_matched_in_float32():
    student, teacher = values(0, 1, 2, 3, 3).bfloat16(), values(1, 1, 2, 3, 3).bfloat16()
    assert matching_loss(student, teacher) == matching_loss(student.float(), teacher.float())


def test_stages_of_the_same_size_are_paired_and_adapted_where_widths_differ():
    matching = FeatureMatching([(4, 8, 8), (8, 4, 4)], [(6, 8, 8), (8, 4, 4), (9, 2, 2)], seed=3)
    assert matching.pairs == ((0, 0), (1, 1))
    adapter, same = matching.adapters
    assert (adapter.in_channels, adapter.out_channels) == (4, 6)
    assert isinstance(same, nn.Identity)
    student = [torch.randn(1, 4, 8, 8), torch.randn(1, 8, 4, 4)]
    teacher = [torch.randn(1, 6, 8, 8), torch.randn(1, 8, 4, 4), torch.randn(1, 9, 2, 2)]
    expected = (
        matching_loss(adapter(student[0]), teacher[0]) + matching_loss(student[1], teacher[1])
    ) / 2
    torch.testing.assert_close(matching(student, teacher), expected)
    with pytest.raises(ValueError, match="no stage of"):
        FeatureMatching([(4, 8, 8)], [(4, 16, 16)], seed=0)


def matched_loss(student, teacher, weight):
    return DistillationLoss(
        teacher,
        task_loss=nn.functional.cross_entropy,
        channels=(16, 16),
        settings=DistillationSettings(logit_weight=0, channel_weight=0, feature_weight=weight),
        seed=0,
        matching=FeatureMatching(
            stage_shapes(student, (64, 64)), stage_shapes(teacher, (64, 64)), seed=0
        ),
    )


def test_the_distillation_adds_its_share_and_its_adapters_do_not_ship():
    student, teacher = net(1, encoder="test_efficientnet"), net(2)
    names = set(student.state_dict())
    loss = matched_loss(student, teacher, 0.25)
    stages = student.forward_with_stages(IMAGES)[2]
    expected = nn.functional.cross_entropy(student(IMAGES), TARGET) + 0.25 * loss.matching(
        stages, teacher.forward_with_stages(IMAGES)[2]
    )
    found = loss(student, IMAGES, TARGET)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(loss(Remembering(student), IMAGES, TARGET), expected)
    found.backward()
    trained = [p for p in loss.parameters() if p.requires_grad]
    assert trained, "these two encoders have stages of different widths"
    assert all(p.grad is not None for p in trained)
    assert set(student.state_dict()) == names
    assert all(p.grad is None for p in teacher.parameters())


def test_a_weight_and_a_matching_belong_together():
    with pytest.raises(ValueError, match="feature_weight above 0 needs matching"):
        DistillationLoss(
            net(),
            task_loss=nn.functional.cross_entropy,
            channels=(16, 16),
            settings=DistillationSettings(feature_weight=1.0),
            seed=0,
        )


def test_an_ensemble_teaches_the_mean_of_the_softened_probabilities():
    members = [net(0), net(1), net(2, width=24)]
    ensemble = Ensemble(members, temperature=3.0)
    with torch.no_grad():
        logits, features, _ = ensemble.forward_with_stages(IMAGES)
        each = [member(IMAGES) for member in members]
        own = members[0].forward_with_features(IMAGES)[1]
    assert torch.equal(features, own)
    for n, y, x in ((0, 5, 7), (1, 40, 2)):
        mean = [0.0] * 3
        for z in each:
            powers = [math.exp(v / 3.0) for v in z[n, :, y, x].tolist()]
            mean = [m + p / sum(powers) / len(each) for m, p in zip(mean, powers, strict=True)]
        found = torch.softmax(logits[n, :, y, x] / 3.0, 0).tolist()
        assert found == pytest.approx(mean, rel=1e-4)


def test_an_ensemble_of_one_teaches_what_its_member_does():
    teacher, student = net(0), net(1)
    with torch.no_grad():
        one = Ensemble([teacher], temperature=2.0)(IMAGES)
        found = pixel_distillation(student(IMAGES), one, 2.0)
        expected = pixel_distillation(student(IMAGES), teacher(IMAGES), 2.0)
    torch.testing.assert_close(found, expected)


def test_a_network_that_was_trained_on_other_units_is_given_its_own():
    own = Normalisation(mean=(100.0, 110.0, 120.0), std=(50.0, 60.0, 70.0))
    given = Normalisation(mean=(0.0, 10.0, 20.0), std=(255.0, 200.0, 100.0))
    raw = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2)) * 255
    teacher = net(0)

    def normalised(n):
        mean, std = (torch.tensor(t).view(1, 3, 1, 1) for t in (n.mean, n.std))
        return (raw - mean) / std

    with torch.no_grad():
        found = Renormalised(teacher, own, given)(normalised(given))
        expected = teacher(normalised(own))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
