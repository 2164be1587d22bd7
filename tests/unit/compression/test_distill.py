import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from automl.compression.distill import (
    DistillationLoss,
    DistillationSettings,
    channel_distillation,
    feature_channels,
    pixel_distillation,
)

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TARGET = torch.randint(0, 3, (2, 64, 64), generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    def __init__(self, width, *, stride=4):
        super().__init__()
        self.body = nn.Conv2d(3, width, 3, stride=stride, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Conv2d(width, 3, 1)
        self.stride = stride

    def forward(self, images_nchw):
        return self.forward_with_features(images_nchw)[0]

    def forward_with_features(self, images_nchw):
        features = torch.relu(self.norm(self.body(images_nchw)))
        return F.interpolate(self.head(features), scale_factor=self.stride), features


def task_loss(logits_nkhw, target_nhw):
    return F.cross_entropy(logits_nkhw, target_nhw, ignore_index=255)


def distillation(teacher, student, **changes):
    return DistillationLoss(
        teacher,
        task_loss=task_loss,
        channels=(feature_channels(student), feature_channels(teacher)),
        settings=DistillationSettings(**{"channel_weight": 1.0, **changes}),
        seed=0,
    )


def loop_kl(teacher, student, temperature):
    def softmax(values):
        powers = [math.exp(value / temperature) for value in values]
        return [power / sum(powers) for power in powers]

    pairs = zip(softmax(teacher), softmax(student), strict=True)
    return temperature**2 * sum(p * math.log(p / q) for p, q in pairs)


temperatures = st.floats(0.5, 8)
seeds = st.integers(0, 2**31)


def pair(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 2, 3, 2, 3, generator=generator, dtype=torch.float64)


@settings(deadline=None)
@given(seed=seeds, temperature=temperatures)
def test_pixel_distillation_is_the_mean_divergence_of_the_pixels(seed, temperature):
    student, teacher = pair(seed)
    losses = [
        loop_kl(teacher[n, :, y, x].tolist(), student[n, :, y, x].tolist(), temperature)
        for n in range(2)
        for y in range(2)
        for x in range(3)
    ]
    found = float(pixel_distillation(student, teacher, temperature))
    assert found == pytest.approx(sum(losses) / len(losses), rel=1e-9)


@settings(deadline=None)
@given(seed=seeds, temperature=temperatures)
def test_a_pixel_weighs_what_the_teacher_expects_of_its_class(seed, temperature):
    student, teacher = pair(seed)
    of_classes = [0.0, 3.0, 0.5]
    weights, losses = [], []
    for n, y, x in itertools.product(range(2), range(2), range(3)):
        mine, theirs = student[n, :, y, x].tolist(), teacher[n, :, y, x].tolist()
        odds = [math.exp(z) for z in theirs]
        weights.append(sum(w * o for w, o in zip(of_classes, odds, strict=True)) / sum(odds))
        losses.append(loop_kl(theirs, mine, temperature))
    expected = sum(w * kl for w, kl in zip(weights, losses, strict=True)) / sum(weights)
    found = pixel_distillation(student, teacher, temperature, torch.tensor(of_classes))
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_classes_that_weigh_the_same_are_as_without_weights():
    student, teacher = pair(3)
    found = pixel_distillation(student, teacher, 2.0, torch.full((3,), 7.0))
    torch.testing.assert_close(found, pixel_distillation(student, teacher, 2.0))


@settings(deadline=None)
@given(seed=seeds, temperature=temperatures)
def test_channel_distillation_is_the_mean_divergence_of_the_channels(seed, temperature):
    student, teacher = pair(seed)
    losses = [
        loop_kl(teacher[n, c].flatten().tolist(), student[n, c].flatten().tolist(), temperature)
        for n in range(2)
        for c in range(3)
    ]
    found = float(channel_distillation(student, teacher, temperature))
    assert found == pytest.approx(sum(losses) / len(losses), rel=1e-9)


@pytest.mark.parametrize("loss", [pixel_distillation, channel_distillation])
def test_gradients_are_those_of_finite_differences(loss):
    student, teacher = pair(3)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda values: loss(values, teacher, 2.0), (student,))


@pytest.mark.parametrize("loss", [pixel_distillation, channel_distillation])
def test_half_precision_is_computed_in_float32(loss):
    student, teacher = pair(3).bfloat16()
    assert loss(student, teacher, 2.0) == loss(student.float(), teacher.float(), 2.0)


def test_a_student_that_equals_its_teacher_only_has_the_task_left():
    teacher = Net(8).eval()
    loss = distillation(teacher, teacher)
    expected = task_loss(teacher(IMAGES), TARGET)
    torch.testing.assert_close(loss(teacher, IMAGES, TARGET), expected)


def test_the_weights_of_classes_are_those_of_the_logits_term():
    teacher, student = Net(8).eval(), Net(8).eval()
    weights = torch.tensor([1.0, 0.1, 8.0])
    loss = distillation(teacher, student, channel_weight=0.0, temperature=3.0)
    loss.weigh(weights)
    logits, teacher_logits = student(IMAGES), teacher(IMAGES)
    expected = task_loss(logits, TARGET) + pixel_distillation(logits, teacher_logits, 3.0, weights)
    torch.testing.assert_close(loss(student, IMAGES, TARGET), expected)


def test_terms_add_up_by_their_weights():
    teacher, student = Net(8).eval(), Net(8).eval()
    logits, features = student.forward_with_features(IMAGES)
    teacher_logits, teacher_features = teacher.forward_with_features(IMAGES)
    expected = task_loss(logits, TARGET)
    expected = expected + 0.7 * pixel_distillation(logits, teacher_logits, 3.0)
    expected = expected + 0.2 * channel_distillation(features, teacher_features, 5.0)
    loss = distillation(
        teacher,
        student,
        temperature=3.0,
        logit_weight=0.7,
        channel_temperature=5.0,
        channel_weight=0.2,
    )
    torch.testing.assert_close(loss(student, IMAGES, TARGET), expected)


def test_ignored_pixels_still_distil():
    teacher, student = Net(8).eval(), Net(8).eval()
    loss = distillation(teacher, student, channel_weight=0.0)
    ignored = TARGET.clone()
    ignored[:, 1:] = 255
    both = [loss(student, IMAGES, t) - task_loss(student(IMAGES), t) for t in (TARGET, ignored)]
    torch.testing.assert_close(*both)
    assert both[0] > 0


@pytest.mark.parametrize(("teacher_stride", "student_stride"), [(2, 4), (4, 4), (4, 2)])
def test_adapter_bridges_other_channels_and_sizes(teacher_stride, student_stride):
    teacher, student = Net(8, stride=teacher_stride), Net(5, stride=student_stride)
    loss = distillation(teacher, student)
    loss(student, IMAGES, TARGET).backward()
    assert loss.adapter.weight.shape == (8, 5, 1, 1)
    assert set(dict(loss.named_parameters())) == {"adapter.weight"}
    assert torch.count_nonzero(loss.adapter.weight.grad) > 0
    assert torch.count_nonzero(student.body.weight.grad) > 0


def test_adapter_is_seeded_and_leaves_the_random_state():
    teacher, student = Net(8), Net(5)
    state = torch.get_rng_state()
    one = distillation(teacher, student).adapter.weight
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(one, distillation(teacher, student).adapter.weight)


@pytest.mark.parametrize(
    ("width", "changes"), [(8, {}), (5, {"channel_weight": 0.0})], ids=["equal", "switched off"]
)
def test_no_adapter_where_none_is_needed(width, changes):
    loss = distillation(Net(8), Net(width), **changes)
    assert list(loss.parameters()) == []
    assert torch.isfinite(loss(Net(width), IMAGES, TARGET))


def test_teacher_is_given_back_as_it_was():
    teacher, student = Net(8).train(), Net(5)
    teacher.head.eval()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    loss = distillation(teacher, student)
    loss.train()
    loss(student, IMAGES, TARGET).backward()
    assert teacher.training
    assert not teacher.head.training
    assert all(p.requires_grad and p.grad is None for p in teacher.parameters())
    assert all(torch.equal(v, before[name]) for name, v in teacher.state_dict().items())


def test_teacher_stays_in_evaluation_mode_while_the_loss_trains():
    teacher, student = Net(8).eval(), Net(8).eval()
    loss = distillation(teacher, student)
    expected = loss(student, IMAGES, TARGET)
    loss.train()
    assert torch.equal(loss(student, IMAGES, TARGET), expected)


def test_teacher_is_no_part_of_the_state():
    assert set(distillation(Net(8), Net(5)).state_dict()) == {"adapter.weight"}


def test_probing_for_channels_leaves_the_network_as_it_was():
    net = Net(6).train()
    before = net.norm.running_mean.clone()
    assert feature_channels(net) == 6
    assert net.training
    assert net.norm.training
    assert torch.equal(net.norm.running_mean, before)


def test_teacher_without_features_is_refused():
    with pytest.raises(TypeError, match="must have forward_with_features"):
        DistillationLoss(
            nn.Conv2d(3, 3, 1),
            task_loss=task_loss,
            channels=(3, 3),
            settings=DistillationSettings(),
            seed=0,
        )


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.0},
        {"channel_temperature": -1.0},
        {"logit_weight": -0.1},
        {"channel_weight": math.nan},
    ],
)
def test_values_outside_their_limits_are_refused(change):
    (name,) = change
    with pytest.raises(ValueError, match=f"{name} must be"):
        DistillationSettings(**change)
